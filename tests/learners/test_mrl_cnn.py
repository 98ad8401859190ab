"""The five networks of federated Matryoshka representation learning: the sizes that the authors' code has, and a torch.nn twin."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from learners.compression.float32 import Float32
from learners.data.dataset import Dataset
from learners.models.flat import num_params, unflatten
from learners.models.mrl_cnn import MrlCnn
from learners.task import Task

IMAGE = (3, 32, 32)
SIZES = [  # number, maps, hidden, parameters with 10 and 100 classes, MiB of each, multiplications (10 classes)
    (1, 32, 2000, 2_621_558, 2_666_648, 10.00, 10.17, 4_825_800),
    (2, 16, 2000, 1_815_142, 1_860_232, 6.92, 7.10, 3_385_800),
    (3, 32, 1000, 1_320_558, 1_365_648, 5.04, 5.21, 3_525_800),
    (4, 32, 800, 1_060_358, 1_105_448, 4.04, 4.22, 3_265_800),
    (5, 32, 500, 670_058, 715_148, 2.56, 2.73, 2_875_800),
]


@pytest.mark.parametrize(("number", "maps", "hidden", "params10", "params100", "mib10", "mib100", "macs"), SIZES)
def test_sizes_are_those_of_the_five_networks(
    number: int, maps: int, hidden: int, params10: int, params100: int, mib10: float, mib100: float, macs: int
) -> None:
    """Parameters also by hand; a message of float32 has their bits; 2 FLOPs a multiplication."""
    by_hand = (3 * 25 + 1) * 16 + (16 * 25 + 1) * maps + (25 * maps + 1) * hidden + (hidden + 1) * 500 + 501 * 10
    assert by_hand == params10
    for classes, params, mib in ((10, params10, mib10), (100, params100, mib100)):
        assert num_params(MrlCnn(IMAGE, classes, number).shapes) == params
        assert Float32().num_bits((params,)) / 8 / 2**20 == pytest.approx(mib, abs=0.005)
    task = Task(images(IMAGE), MrlCnn(IMAGE, 10, number))
    assert task.metric.flops(torch.zeros(task.num_params), task.test_inputs, task.test_labels) == 2 * macs * 2


@pytest.mark.parametrize(
    ("feature_dim", "params10", "bytes10", "params100", "bytes100"),
    [
        (100, 465_658, 1_862_632, 474_748, 1_898_992),
        (250, 542_308, 2_169_232, 564_898, 2_259_592),
        (500, 670_058, 2_680_232, 715_148, 2_860_592),
    ],
)
def test_sizes_of_the_small_shared_network(
    feature_dim: int, params10: int, bytes10: int, params100: int, bytes100: int
) -> None:
    for classes, params, num_bytes in ((10, params10, bytes10), (100, params100, bytes100)):
        model = MrlCnn(IMAGE, classes, 5, feature_dim)
        assert model.feature_dim == feature_dim
        assert num_params(model.shapes) == params
        assert Float32().num_bits((params,)) == 8 * num_bytes


@pytest.mark.parametrize("classes", [10, 100])
def test_size_of_the_fifth_network_without_its_last_layer(classes: int) -> None:
    """What an extractor that is shared alone (pFedAFM) would send, whatever the classes."""
    assert num_params(MrlCnn(IMAGE, classes, 5).shapes[:-2]) == 665_048


def images(shape: tuple[int, ...]) -> Dataset:
    rng = np.random.default_rng(5)
    inputs, labels = rng.random((3, *shape)), np.arange(3)
    return Dataset("random", inputs, labels, inputs[:2], labels[:2], 10)


def twin(channels: int, kernel: int, padding: int, flat: int) -> nn.Module:
    """Number 5 with a representation of 20."""
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel, padding=padding), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(flat, 500), nn.ReLU(), nn.Linear(500, 20), nn.ReLU(), nn.Linear(20, 10),
    ).double()  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "kernel", "padding", "flat"), [((3, 32, 32), 5, 0, 25 * 32), ((1, 8, 12), 3, 1, 2 * 3 * 32)]
)
def test_forward_and_gradient_equal_torch_nn(shape: tuple[int, ...], kernel: int, padding: int, flat: int) -> None:
    task, module = Task(images(shape), MrlCnn(shape, 10, 5, 20), "float64"), twin(shape[0], kernel, padding, flat)
    x = task.initial_parameters(np.random.default_rng(2))
    nn.utils.vector_to_parameters(x, module.parameters())
    inputs, labels = torch.tensor(task.dataset.train_inputs), torch.tensor(task.train_labels)
    logits: Tensor = module(inputs)
    parameters = unflatten(x, task.model.shapes)
    assert torch.allclose(task.model.forward(parameters, inputs), logits, rtol=0, atol=1e-12)
    assert float(logits.detach().std()) > 0.01
    assert isinstance(module, nn.Sequential)
    assert torch.allclose(task.model.representation(parameters, inputs), module[:-1](inputs), rtol=0, atol=1e-12)
    expected = torch.autograd.grad(nn.functional.cross_entropy(logits, labels), list(module.parameters()))
    found = task.gradient(x, torch.arange(3), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(found, torch.cat([part.flatten() for part in expected]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"input_shape": (64,)}, r"input_shape = \(64,\): needs images with sides of at least 4"),
        ({"input_shape": (1, 3, 8)}, "input_shape = "),
        ({"number": 6}, "number = 6: a whole number from 1 to 5"),
        ({"feature_dim": 0}, "feature_dim = 0: at least 1"),
    ],
)
def test_what_it_cannot_be_built_for_is_refused(keys: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MrlCnn(**({"input_shape": IMAGE, "num_classes": 10} | keys))  # type: ignore[arg-type]
