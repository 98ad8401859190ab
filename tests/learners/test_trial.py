"""Trial runs against torch's own counter, on zeros and on fake tensors alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad
from torch.utils.flop_counter import FlopCounterMode

from learners import trial as trials
from learners.trial import trial

X, W, K = ((5, 7), torch.float32), ((7, 3), torch.float32), ((4, 1, 3, 3), torch.float32)
IMAGES = ((2, 1, 8, 8), torch.float32)


def loss(w: Tensor, x: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(x @ w, torch.zeros(len(x), dtype=torch.int64))


OPS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "product": (lambda x, w: x @ w, (X, W)),
    "gradient": (grad(loss), (W, X)),
    "convolution": (torch.conv2d, (IMAGES, K)),
    "gradient of a convolution": (grad(lambda k, x: torch.conv2d(x, k).square().sum()), (K, IMAGES)),
    "gather": (lambda x, i: x[i] * 2.0, (X, ((6,), torch.int64))),
    "singular zeros": (lambda x: torch.linalg.inv(x.T @ x), (X,)),
}


@pytest.mark.parametrize("small_bytes", [0, trials.SMALL_BYTES], ids=["fakes", "zeros"])
@pytest.mark.parametrize("name", OPS)
def test_a_trial_finds_the_shapes_and_the_flops(name: str, small_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "SMALL_BYTES", small_bytes)
    fn, keys = OPS[name]
    generator = torch.Generator().manual_seed(1)
    real = [
        torch.randint(0, 5, shape, generator=generator)
        if dtype == torch.int64
        else torch.randn(shape, generator=generator)
        for shape, dtype in keys
    ]
    with FlopCounterMode(display=False) as counter:
        expected = fn(*real)
    result, counted = trial(fn, keys)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    assert counted.flops == counter.get_total_flops()


def test_zeros_and_fakes_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fn, keys = OPS["gradient"]
    zeros = trial(fn, keys)[1]
    monkeypatch.setattr(trials, "SMALL_BYTES", 0)
    fakes = trial(fn, keys)[1]
    assert (zeros.flops, zeros.num_bytes, zeros.num_kernels) == (fakes.flops, fakes.num_bytes, fakes.num_kernels)
    assert zeros.num_kernels > 0


@pytest.mark.parametrize("small_bytes", [0, trials.SMALL_BYTES], ids=["fakes", "zeros"])
@pytest.mark.parametrize(
    "fn",
    [lambda x: x[x > 0], lambda x: x * x.sum().item(), lambda x: torch.nonzero(x)],
    ids=["mask", "item", "nonzero"],
)
def test_what_depends_on_values_is_refused(
    fn: Callable[..., Any], small_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "SMALL_BYTES", small_bytes)
    with pytest.raises(Exception, match=r"of a tensor's values|data-dependent|dynamic"):
        trial(fn, (X,))
