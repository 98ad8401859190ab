"""What a scenario may name: visible lists, loaded on demand.

Each entry is "module:attribute", so that listing the names imports no algorithm and no torch.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import Any

LEARNERS = {
    "fedavg": "learners.federated.fedavg:FedAvg",
    "dpsgd": "learners.decentralized.dpsgd:Dpsgd",
    "drt_diffusion": "learners.decentralized.drt_diffusion:DrtDiffusion",
    "ccl": "learners.decentralized.ccl:Ccl",
    "choco": "learners.decentralized.choco:Choco",
    "sgp": "learners.decentralized.sgp:Sgp",
    "relay_sgd": "learners.decentralized.relay_sgd:RelaySgd",
    "ad_psgd": "learners.decentralized.ad_psgd:AdPsgd",
    "all_reduce": "learners.decentralized.all_reduce:AllReduce",
    "ngc": "learners.decentralized.ngc:Ngc",
    "gossip": "learners.decentralized.gossip:Gossip",
    "qg_dsgdm": "learners.decentralized.qg_dsgdm:QgDsgdm",
    "gradient_tracking": "learners.decentralized.gradient_tracking:GradientTracking",
    "momentum_tracking": "learners.decentralized.momentum_tracking:MomentumTracking",
    "d2": "learners.decentralized.d2:D2",
    "gut": "learners.decentralized.gut:Gut",
    "fedprox": "learners.federated.fedprox:FedProx",
    "fedopt": "learners.federated.fedopt:FedOpt",
    "hierfavg": "learners.federated.hierfavg:HierFavg",
    "split_learning": "learners.federated.split_learning:SplitLearning",
    "scaffold": "learners.federated.scaffold:Scaffold",
    "fedbuff": "learners.federated.fedbuff:FedBuff",
    "fedasync": "learners.federated.fedasync:FedAsync",
    "fedproto": "learners.federated.fedproto:FedProto",
    "fedmrl": "learners.federated.fedmrl:FedMrl",
    "lg_fedavg": "learners.federated.lg_fedavg:LgFedAvg",
    "heterofl": "learners.federated.heterofl:HeteroFl",
    "fd": "learners.federated.fd:FederatedDistillation",
    "fedmd": "learners.federated.fedmd:FedMd",
    "feddf": "learners.federated.feddf:FedDf",
    "fedgh": "learners.federated.fedgh:FedGh",
    "fml": "learners.federated.fml:Fml",
    "fedkd": "learners.federated.fedkd:FedKd",
    "fedapen": "learners.federated.fedapen:FedApen",
    "semantic_mcr2": "learners.semantic.semantic_mcr2:SemanticMcr2",
    "semantic_mcr2_clusters": "learners.semantic.semantic_mcr2_clusters:SemanticMcr2Clusters",
    "compositional_mcr2": "learners.semantic.compositional_mcr2:CompositionalMcr2",
    "closed_loop": "learners.control.closed_loop:ClosedLoop",
    "local_only": "learners.references.local_only:LocalOnly",
    "centralized": "learners.references.centralized:Centralized",
}

CODECS = {
    "float32": "learners.compression.float32:Float32",
    "float16": "learners.compression.float16:Float16",
    "bfloat16": "learners.compression.bfloat16:BFloat16",
    "uniform": "learners.compression.uniform:Uniform",
    "int8_affine": "learners.compression.affine:Int8Affine",
    "int4_affine": "learners.compression.affine:Int4Affine",
    "qsgd": "learners.compression.qsgd:Qsgd",
    "ternary": "learners.compression.ternary:Ternary",
    "sign": "learners.compression.sign:Sign",
    "onebit": "learners.compression.onebit:OneBit",
    "natural": "learners.compression.natural:Natural",
    "topk": "learners.compression.topk:TopK",
    "randk": "learners.compression.randk:RandK",
    "stc": "learners.compression.stc:Stc",
}

MODELS = {
    "mlp": "learners.models.mlp:Mlp",
    "lenet": "learners.models.lenet:LeNet",
    "lenet5": "learners.models.lenet5:LeNet5",
    "small_cnn": "learners.models.small_cnn:SmallCnn",
    "vgg11": "learners.models.vgg11:Vgg11",
    "resnet20": "learners.models.resnet20:ResNet20",
    "mrl_cnn": "learners.models.mrl_cnn:MrlCnn",
    "bias_mlp": "learners.models.bias_mlp:BiasMlp",
    "conv_encoder": "learners.models.conv_encoder:ConvEncoder",
    "resnet18": "learners.models.resnet_encoder:ResNet18",
    "resnet34": "learners.models.resnet_encoder:ResNet34",
    "vgg11_encoder": "learners.models.vgg_encoder:Vgg11Encoder",
    "vgg16_encoder": "learners.models.vgg_encoder:Vgg16Encoder",
    "equivariant": "learners.models.equivariant:Equivariant",
    "edge_equivariant": "learners.models.edge_equivariant:EdgeEquivariant",
    "two_index": "learners.models.two_index:TwoIndex",
    "message_passing": "learners.models.message_passing:MessagePassing",
    "padded_mlp": "learners.models.padded_mlp:PaddedMlp",
}

DATASETS = {
    "digits": "learners.data.digits:digits",
    "gaussian_mixture": "learners.data.gaussian_mixture:gaussian_mixture",
    "mnist": "learners.data.mnist:mnist",
    "fashion_mnist": "learners.data.mnist:fashion_mnist",
    "cifar10": "learners.data.cifar:cifar10",
    "cifar100": "learners.data.cifar:cifar100",
    "cifar100_subset": "learners.data.cifar:cifar100_subset",
    "npz": "learners.data.npz:npz",
    "interference_channel": "learners.control.data_sets:interference_channel",
    "link_activation": "learners.control.data_sets:link_activation",
    "recorded_channels": "learners.control.data_sets:recorded_channels",
    "observed_links": "learners.control.observed_links:observed_links",
    "parallel_channels": "learners.control.data_sets:parallel_channels",
}

PARTITIONS = {
    "iid": "learners.data.partitions:iid",
    "dirichlet": "learners.data.partitions:dirichlet",
    "equal_dirichlet": "learners.data.equal_dirichlet:equal_dirichlet",
    "classes_per_device": "learners.data.partitions:classes_per_device",
    "quantity_skew": "learners.data.partitions:quantity_skew",
    "class_lists": "learners.data.class_lists:class_lists",
    "everything": "learners.data.everything:everything",
}

REGISTRIES = {
    "learner": LEARNERS,
    "codec": CODECS,
    "model": MODELS,
    "dataset": DATASETS,
    "partition": PARTITIONS,
}


def load(kind: str, name: str) -> Any:
    """The class or function registered as `name` among the `kind` (a key of `REGISTRIES`).

    Raises ValueError for an unknown kind or name, with the nearest known name.
    """
    if kind not in REGISTRIES:
        raise ValueError(f"registry kind = {kind!r}: one of {', '.join(REGISTRIES)}")
    entries = REGISTRIES[kind]
    if name not in entries:
        near = get_close_matches(str(name), entries, n=1)
        hint = f" ({near[0]!r}?)" if near else ""
        raise ValueError(f"{kind} {name!r} is not known: one of {', '.join(entries)}{hint}")
    module, attribute = entries[name].split(":")
    return getattr(import_module(module), attribute)
