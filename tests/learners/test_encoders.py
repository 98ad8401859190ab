"""Encoders: unit vectors, twins in torch.nn in both modes, running statistics, without the head."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learners import registry
from learners.data.dataset import Dataset
from learners.local_step import Rule, local_step
from learners.models.batch_norm import BatchStatistics, RunningStatistics
from learners.models.bias_mlp import BiasMlp
from learners.models.conv_encoder import ConvEncoder
from learners.models.encoder import ENCODERS, Encoder, Headless
from learners.models.flat import num_params, unflatten
from learners.models.mlp import Mlp
from learners.models.resnet_encoder import ResNet18, ResNet34
from learners.models.vgg_encoder import Vgg11Encoder, Vgg16Encoder
from learners.task import Task, weighted_cross_entropy

F64 = torch.float64


# Batch normalization


def normalizations(sizes: Sequence[int], build: Callable[[int], nn.Module]) -> list[Any]:
    """torch.nn's, with random scales and shifts."""
    modules = [build(size).double() for size in sizes]
    generator = torch.Generator().manual_seed(3)
    for module in modules:
        for parameter in module.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=F64)
    return modules


@pytest.mark.parametrize(("build", "pixels"), [(nn.BatchNorm2d, (3, 2)), (nn.BatchNorm1d, ())])
def test_batch_normalization_equals_torch_nn_in_train_and_evaluation_mode(
    build: Callable[[int], nn.Module], pixels: tuple[int, ...]
) -> None:
    """Three passes in train mode through two layers of 4 and 5 maps, then one in evaluation mode; outputs, running statistics and
    gradients to 1e-12."""
    modules, generator = normalizations((4, 5), build), torch.Generator().manual_seed(4)
    running = tuple(torch.full((size,), float(i), dtype=F64) for size in (4, 5) for i in (0, 1))
    for _ in range(3):
        inputs = [3 + 2 * torch.randn((6, size, *pixels), generator=generator, dtype=F64) for size in (4, 5)]
        norm = BatchStatistics(running, torch.ones(6, dtype=F64))
        for module, h in zip(modules, inputs, strict=True):
            h.requires_grad_()
            module.zero_grad()
            (expected_h,) = torch.autograd.grad(module(h).sin().sum(), h, retain_graph=True)
            module_running = module.running_mean.clone(), module.running_var.clone()
            expected = module_running, [p.detach().clone() for p in module.parameters()]
            scale, shift = (p.requires_grad_() for p in expected[1])
            y = norm(h, scale, shift)
            (found_h,) = torch.autograd.grad(y.sin().sum(), h)
            torch.testing.assert_close(found_h, expected_h, rtol=0, atol=1e-12)
            torch.testing.assert_close(tuple(norm.updated[-2:]), module_running, rtol=0, atol=1e-12)
        running = tuple(tensor.detach() for tensor in norm.updated)
    inputs = [torch.randn((2, size, *pixels), generator=generator, dtype=F64) for size in (4, 5)]
    evaluation = RunningStatistics(running)
    for module, h in zip(modules, inputs, strict=True):
        module.eval()
        torch.testing.assert_close(evaluation(h, module.weight, module.bias), module(h), rtol=0, atol=1e-12)


def test_padding_counts_neither_for_the_batch_nor_for_the_running_statistics() -> None:
    generator = torch.Generator().manual_seed(4)
    h = torch.randn((5, 3, 2, 2), generator=generator, dtype=F64)
    running, scale, shift = (torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64)), torch.ones(3), torch.zeros(3)
    alone = BatchStatistics(running, torch.ones(3))
    expected = alone(h[:3], scale, shift)
    padded = BatchStatistics(running, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(padded(h, scale, shift)[:3], expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(padded.updated, alone.updated, rtol=0, atol=1e-14)
    nothing = BatchStatistics(running, torch.zeros(5))
    assert nothing(h, scale, shift).isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(nothing.updated, running, strict=True))


def test_one_value_has_no_variance_and_a_negative_running_variance_counts_as_none() -> None:
    one = BatchStatistics((torch.zeros(1), torch.ones(1)), torch.ones(1))
    assert one(torch.full((1, 1), 4.0), torch.ones(1), torch.full((1,), 7.0)).item() == 7.0
    assert [float(tensor) for tensor in one.updated] == pytest.approx([0.4, 0.9])
    rounded = RunningStatistics((torch.zeros(1), torch.full((1,), -0.5)))
    assert rounded(torch.ones(1, 1), torch.ones(1), torch.zeros(1)).item() == pytest.approx(1e-5**-0.5)


# Whole networks


class Block(nn.Module):
    def __init__(self, before: int, maps: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(before, maps, 3, stride, 1, bias=False),
            nn.BatchNorm2d(maps),
            nn.ReLU(),
            nn.Conv2d(maps, maps, 3, 1, 1, bias=False),
            nn.BatchNorm2d(maps),
        )
        projection = nn.Sequential(nn.Conv2d(before, maps, 1, stride, bias=False), nn.BatchNorm2d(maps))
        self.shortcut = nn.Identity() if before == maps else projection

    def forward(self, h: Tensor) -> Tensor:
        return F.relu(self.inner(h) + self.shortcut(h))


def torch_projection(width: int, feature_dim: int) -> list[nn.Module]:
    hidden = [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), *hidden, nn.Linear(width, feature_dim)]


def torch_resnet(channels: int, m: int, feature_dim: int, widths: Sequence[int]) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(channels, m, 3, 1, 1, bias=False), nn.BatchNorm2d(m), nn.ReLU()]
    for before, maps in itertools.pairwise((1, *widths)):
        layers.append(Block(before * m, maps * m, maps // before))
    return [*layers, *torch_projection(8 * m, feature_dim)]


def torch_vgg(channels: int, m: int, feature_dim: int, stages: Sequence[Sequence[int]]) -> list[nn.Module]:
    layers, before = [], channels
    for stage in stages:
        for multiple in stage:
            layers += [nn.Conv2d(before, multiple * m, 3, padding=1), nn.BatchNorm2d(multiple * m), nn.ReLU()]
            before = multiple * m
        layers.append(nn.MaxPool2d(2, ceil_mode=True))
    return [*layers, *torch_projection(8 * m, feature_dim)]


def torch_conv_encoder(channels: int, m: int, feature_dim: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, m, 4, 2, 1, bias=False),
        nn.LeakyReLU(0.2),
        nn.Conv2d(m, 2 * m, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * m),
        nn.LeakyReLU(0.2),
        nn.Conv2d(2 * m, 4 * m, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4 * m),
        nn.LeakyReLU(0.2),
        nn.Conv2d(4 * m, feature_dim, 4, bias=False),
        nn.Flatten(),
    ]


def torch_bias_mlp(inputs: int, width: int, feature_dim: int) -> list[nn.Module]:
    return [
        nn.Flatten(),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, feature_dim),
    ]


RESNET34 = (*[1] * 3, *[2] * 4, *[4] * 6, *[8] * 3)
VGG16 = ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8))
TWINS: dict[str, tuple[Callable[[], Encoder], Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "bias_mlp": (lambda: BiasMlp((1, 8, 8), 10, (20, 20), 11), lambda: torch_bias_mlp(64, 20, 11), (1, 8, 8)),
    "conv_encoder": (lambda: ConvEncoder((1, 32, 32), 10, 11, 4), lambda: torch_conv_encoder(1, 4, 11), (1, 32, 32)),
    "resnet18": (
        lambda: ResNet18((3, 8, 8), 10, 11, 4),
        lambda: torch_resnet(3, 4, 11, (1, 1, 2, 2, 4, 4, 8, 8)),
        (3, 8, 8),
    ),
    "resnet34": (lambda: ResNet34((3, 8, 8), 10, 11, 4), lambda: torch_resnet(3, 4, 11, RESNET34), (3, 8, 8)),
    "vgg11_encoder": (
        lambda: Vgg11Encoder((3, 20, 32), 10, 11, 4),
        lambda: torch_vgg(3, 4, 11, ((1,), (2,), (4, 4), (8, 8), (8, 8))),
        (3, 20, 32),
    ),
    "vgg16_encoder": (lambda: Vgg16Encoder((3, 20, 32), 10, 11, 4), lambda: torch_vgg(3, 4, 11, VGG16), (3, 20, 32)),
}


class Unit(nn.Module):
    def forward(self, e: Tensor) -> Tensor:
        return e / e.norm(dim=1, keepdim=True)


def twin(name: str) -> tuple[Encoder, nn.Module, tuple[Tensor, ...], Tensor]:
    """An encoder, the same in torch.nn with its head, random tensors that both hold, and four inputs."""
    make, build, input_shape = TWINS[name]
    model, rng = make(), np.random.default_rng(2)
    module = nn.Sequential(*build(), Unit(), nn.Linear(11, 10)).double()
    x = torch.tensor(model.initial(rng))
    tensors = unflatten(x + 0.05 * torch.tensor(rng.random(len(x))), model.shapes)
    buffers = [buffer for buffer in module.buffers() if buffer.ndim]  # not the number of batches
    assert [buffer.shape for buffer in buffers] == [tensor.shape for tensor in tensors[: model.num_buffers]]
    for target, tensor in zip((*buffers, *module.parameters()), tensors, strict=True):
        target.data = tensor.clone()
    return model, module, tensors, torch.tensor(rng.random((4, *input_shape)))


@pytest.mark.parametrize("mode", ["train", "evaluation"])
@pytest.mark.parametrize("name", TWINS)
def test_networks_equal_torch_nn_in_both_modes(name: str, mode: str) -> None:
    """Logits, representations, gradients and running statistics, and a row of padding beside the four samples changes nothing."""
    model, module, tensors, inputs = twin(name)
    labels = torch.tensor([3, 1, 4, 1])
    module.train(mode == "train")
    logits = module(inputs)
    expected = torch.autograd.grad(F.cross_entropy(logits, labels), list(module.parameters()))
    weights = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0], dtype=F64)
    padded, padded_labels = torch.cat([inputs, inputs[:1] + 9]), torch.tensor([3, 1, 4, 1, 5])

    def loss(parameters: tuple[Tensor, ...]) -> tuple[Tensor, Any]:
        passing = model.training(weights) if mode == "train" else model
        z = passing.representation(parameters, padded.reshape(-1, *model.input_shape))
        found = passing.head(parameters, z)
        return weighted_cross_entropy(found, padded_labels, weights), (found, z, getattr(passing, "buffers", ()))

    gradients, (found, z, buffers) = torch.func.grad(loss, has_aux=True)(tensors)
    torch.testing.assert_close(found[:4], logits, rtol=0, atol=1e-10)
    torch.testing.assert_close(z.norm(dim=1), torch.ones(5, dtype=F64), rtol=0, atol=1e-12)
    scale = max(float(g.abs().max()) for g in expected)
    for g, wanted in zip(gradients[model.num_buffers :], expected, strict=True):
        torch.testing.assert_close(g / scale, wanted / scale, rtol=0, atol=1e-10)
    assert not any(g.any() for g in gradients[: model.num_buffers])
    if mode == "train":
        assert len(buffers) == model.num_buffers
        for buffer, wanted in zip(buffers, (b for b in module.buffers() if b.ndim), strict=True):
            torch.testing.assert_close(buffer, wanted, rtol=0, atol=1e-10)


def test_adam_steps_with_running_statistics_equal_those_of_torch() -> None:
    """Three steps with weight decay, the last on a batch with padding; parameters and running statistics to 1e-9. The decay leaves the
    running statistics alone: Adam's moments of them stay 0."""
    rng = np.random.default_rng(5)
    inputs, labels = rng.random((24, 1, 16, 16)), rng.integers(0, 10, 24)
    model = ConvEncoder((1, 16, 16), 10, 11, 4)
    task = Task(Dataset("random", inputs, labels, inputs[:2], labels[:2], 10), model, "float64")
    layers = torch_conv_encoder(1, 4, 11)
    module = nn.Sequential(
        *layers[:5], nn.Conv2d(8, 11, 4, bias=False), nn.Flatten(), Unit(), nn.Linear(11, 10)
    ).double()
    start = task.initial_parameters(rng)
    buffers = [buffer for buffer in module.buffers() if buffer.ndim]
    num_buffers = sum(buffer.numel() for buffer in buffers)
    for target, tensor in zip((*buffers, *module.parameters()), unflatten(start, model.shapes), strict=True):
        target.data = tensor.clone()
    rule = Rule(weight_decay=0.05, optimizer="adam")
    indices, weights = torch.tensor(rng.permutation(24).reshape(3, 8)), torch.ones(3, 8, dtype=F64)
    weights[2, 5:] = 0
    x, m, *_ = local_step(task, task.objective, rule).scan((start, *rule.start(task)), (indices, weights), 0.01)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01, weight_decay=0.05)
    for batch, real in zip(indices, weights > 0, strict=True):
        optimizer.zero_grad()
        images, answers = torch.tensor(inputs)[batch[real]], torch.tensor(labels)[batch[real]]
        F.cross_entropy(module(images), answers).backward()
        optimizer.step()
    expected = torch.cat([tensor.detach().flatten() for tensor in (*buffers, *module.parameters())])
    torch.testing.assert_close(x, expected, rtol=0, atol=1e-9)
    assert float((expected - start)[:num_buffers].abs().min()) > 1e-4
    assert not m[:num_buffers].any()


# Sizes and work

RESNET_STAGES = ((32, 64, 64), (16, 64, 128), (8, 128, 256), (4, 256, 512))
"""Side, maps before and maps of the four stages."""


def resnet_macs(blocks: Sequence[int]) -> int:
    macs = 32 * 32 * 64 * 27
    for (side, before, maps), num_blocks in zip(RESNET_STAGES, blocks, strict=True):
        macs += side * side * (maps * before * 9 + (2 * num_blocks - 1) * maps * maps * 9)
        macs += side * side * maps * before if maps != before else 0
    return macs + 512 * 512 + 512 * 128


def vgg_macs(stages: Sequence[Sequence[int]]) -> int:
    macs, before, side = 0, 3, 32
    for stage in stages:
        for multiple in stage:
            macs += side * side * 9 * before * 64 * multiple
            before = 64 * multiple
        side //= 2
    return macs + 512 * 512 + 512 * 128


SIZES: list[tuple[type[Encoder], tuple[int, ...], int, int, int]] = [
    # parameters without head and running statistics (section 5 of the method's specification), running statistics, multiplications
    (ConvEncoder, (1, 32, 32), 1_181_440, 2 * 384, 16**2 * 1024 + 8**2 * 131_072 + 4**2 * 524_288 + 524_288),
    (ResNet18, (3, 32, 32), 11_497_664, 9600 + 1024, resnet_macs((2, 2, 2, 2))),
    (ResNet34, (3, 32, 32), 21_605_824, 17_024 + 1024, resnet_macs((3, 4, 6, 3))),
    (Vgg11Encoder, (3, 32, 32), 9_554_816, 5504 + 1024, vgg_macs(((1,), (2,), (4, 4), (8, 8), (8, 8)))),
    (Vgg16Encoder, (3, 32, 32), 15_051_968, 8448 + 1024, vgg_macs(VGG16)),
    (BiasMlp, (1, 8, 8), 8192 + 128 + 4096 + 32, 0, 64 * 128 + 128 * 32),
]


@pytest.mark.parametrize(("build", "input_shape", "num_body", "num_running", "macs"), SIZES)
def test_numbers_of_parameters_and_multiplications(
    build: Any, input_shape: tuple[int, ...], num_body: int, num_running: int, macs: int
) -> None:
    """Forward 2 FLOPs a multiplication, normalization none."""
    model = build(input_shape, 10)
    assert num_params(model.shapes[model.num_buffers : -2]) == num_body
    assert num_params(model.shapes[: model.num_buffers]) == num_running
    assert model.shapes[-2:] == ((10, model.feature_dim), (10,))
    data = np.zeros((2, *input_shape), dtype=np.float32)
    task = Task(Dataset("zeros", data, np.array([0, 9]), data, np.array([0, 9]), 10), model)
    flops = task.metric.flops(task.zero_parameters, task.test_inputs, task.test_labels)
    assert flops == 2 * 2 * (macs + 10 * model.feature_dim)


def test_the_multiplications_are_those_of_the_docstrings() -> None:
    """Millions a sample."""
    found = [macs / 1e6 for *_, macs in SIZES]
    assert found == pytest.approx([18, 560, 1160, 150, 310, 0.012], rel=0.03)


@pytest.mark.parametrize("name", [name for name in TWINS if name != "bias_mlp"])
def test_start_is_he_normal_with_neutral_normalization(name: str) -> None:
    """Relative standard error of a sample variance: sqrt(2 / n); tolerance 4.5 of them for each of up to 38 layers."""
    model = TWINS[name][0]()
    tensors = unflatten(torch.tensor(model.initial(np.random.default_rng(3))), model.shapes)
    running, layers = tensors[: model.num_buffers], tensors[model.num_buffers :]
    assert all((tensor == i % 2).all() for i, tensor in enumerate(running))
    weights = [tensor for tensor in layers if tensor.ndim > 1]
    for weight in weights:
        out, fan_in = len(weight), weight[0].numel()
        variance = 2 / (out + fan_in) if weight is weights[-1] or weight is weights[-2] else 2 / fan_in
        assert float(weight.var()) == pytest.approx(variance, rel=4.5 * np.sqrt(2 / weight.numel()))
    vectors = [tensor for tensor in layers if tensor.ndim == 1]
    assert sum(float(tensor.mean()) for tensor in vectors) == model.num_buffers / 2  # the scales
    assert all((tensor == tensor[0]).all() for tensor in vectors)


def test_bias_mlp_starts_as_linear_layers_of_torch_do() -> None:
    """Uniform in +- 1 / sqrt(fan_in): variance 1 / (3 fan_in). Of a uniform variable, a sample variance has relative standard error
    sqrt(0.8 / n); tolerance 4.5 of them."""
    model = BiasMlp((1, 8, 8), 10, [300], 100)
    for tensor, fan_in in zip(
        unflatten(torch.tensor(model.initial(np.random.default_rng(3))), model.shapes),
        [64, 64, 300, 300, 100, 100],
        strict=True,
    ):
        assert float(tensor.abs().max()) <= fan_in**-0.5
        assert float(tensor.square().mean()) == pytest.approx(1 / (3 * fan_in), rel=4.5 * np.sqrt(0.8 / tensor.numel()))


# Other sizes of images


def test_conv_encoder_pads_mnist_with_zeros_to_32_pixels() -> None:
    small, large = ConvEncoder((1, 28, 26), 10, 11, 4), ConvEncoder((1, 32, 32), 10, 11, 4)
    assert small.shapes == large.shapes
    rng = np.random.default_rng(2)
    tensors = unflatten(torch.tensor(small.initial(rng)), small.shapes)
    inputs = torch.tensor(rng.random((2, 1, 28, 26)))
    padded = torch.zeros((2, 1, 32, 32), dtype=F64)
    padded[:, :, 2:30, 3:29] = inputs
    assert torch.equal(small.representation(tensors, inputs), large.representation(tensors, padded))


def test_conv_encoder_has_fewer_strided_layers_for_digits() -> None:
    assert ConvEncoder((1, 8, 8), 10, 32).shapes[:2] == ((64, 1, 4, 4), (32, 64, 4, 4))
    assert [s for s in ConvEncoder((1, 9, 16), 10, 32).shapes if len(s) == 4][1:] == [(128, 64, 4, 4), (32, 128, 4, 4)]


@pytest.mark.parametrize("sides", [(4, 4), (8, 8), (5, 17), (28, 28)])
@pytest.mark.parametrize("name", [name for name in TWINS if name != "bias_mlp"])
def test_encoders_take_images_of_other_sizes(name: str, sides: tuple[int, int]) -> None:
    model = registry.load("model", name)((1, *sides), 10, maps=1, feature_dim=12)
    rng = np.random.default_rng(2)
    tensors = unflatten(torch.tensor(model.initial(rng)), model.shapes)
    inputs = torch.tensor(rng.random((3, 1, *sides)))
    assert model.training(torch.ones(3)).representation(tensors, inputs).shape == (3, 12)


# Without the head


@pytest.mark.parametrize("name", ["bias_mlp", "resnet18"])
def test_without_the_head_an_encoder_has_the_same_representation_and_start(name: str) -> None:
    model, _, tensors, inputs = twin(name)
    inputs = inputs.reshape(-1, *model.input_shape)
    headless = Headless(model)
    assert headless.shapes == model.shapes[:-2]
    assert (headless.feature_dim, headless.num_buffers, headless.unit_norm) == (11, model.num_buffers, True)
    assert not hasattr(headless, "head")
    assert not hasattr(headless, "forward")
    assert torch.equal(headless.representation(tensors[:-2], inputs), model.representation(tensors, inputs))
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0])
    passes = headless.training(weights), model.training(weights)
    assert torch.equal(passes[0].representation(tensors[:-2], inputs), passes[1].representation(tensors, inputs))
    assert len(passes[0].buffers) == model.num_buffers
    assert all(torch.equal(a, b) for a, b in zip(passes[0].buffers, passes[1].buffers, strict=True))
    start = model.initial(np.random.default_rng(1))
    assert np.array_equal(headless.initial(np.random.default_rng(1)), start[: num_params(headless.shapes)])


def test_all_encoders_are_named_and_no_other_model() -> None:
    built = {name: registry.load("model", name) for name in registry.MODELS}
    assert tuple(name for name, model in built.items() if getattr(model, "unit_norm", False)) == ENCODERS


def test_many_devices_of_the_multilayer_perceptron_at_once() -> None:
    """Gradients under vmap equal one device after the other."""
    model = Headless(BiasMlp((6,), 3, (5,), 4))
    rng = np.random.default_rng(2)
    x = torch.tensor(np.stack([model.initial(rng) for _ in range(3)]))
    inputs = torch.tensor(rng.random((3, 7, 6)))

    def loss(x: Tensor, inputs: Tensor) -> Tensor:
        z = model.training(torch.ones(7)).representation(unflatten(x, model.shapes), inputs)
        return (z.mT @ z)[0].sum()

    together = torch.func.vmap(torch.func.grad(loss))(x, inputs)
    alone = torch.stack([torch.func.grad(loss)(*one) for one in zip(x, inputs, strict=True)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert alone.any(1).all()


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Headless(Mlp((64,), 10)),
            "Mlp gives representations of any length.*: bias_mlp, .*vgg16_encoder give unit",
        ),
        (lambda: Headless(BiasMlp((64,), 10, feature_dim=9)), "feature_dim = 9: at least 10, a dimension for each"),
        (lambda: BiasMlp((64,), 10, (0,)), "hidden = .*at least 1 unit"),
        (lambda: BiasMlp((64,), 10, feature_dim=0), "feature_dim = 0: at least 1"),
        (lambda: BiasMlp((64,), 0), "needs at least 1 number and 1 class"),
        (lambda: ConvEncoder((1, 33, 32), 10), "input_shape = .*sides of 4 to 32 pixels"),
        (lambda: ConvEncoder((64,), 10), "input_shape = "),
        (lambda: ResNet18((3, 3, 32), 10), "input_shape = .*sides of at least 4 pixels"),
        (lambda: ResNet34((3, 8, 8), 10, maps=0), "maps = 0: at least 1"),
        (lambda: Vgg11Encoder((3, 8, 8), 10, 0), "feature_dim = 0: at least 1"),
        (lambda: Vgg16Encoder((3, 8, 8), 0), "num_classes = 0: at least 1"),
    ],
)
def test_encoders_refuse_what_they_cannot_be_built_for(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
