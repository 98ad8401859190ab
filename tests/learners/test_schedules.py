"""Learning-rate schedules against torch's own schedulers, which are written as recursions over steps."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR, StepLR

from learners.schedules import learning_rate_at

RATE = 0.3


def torch_rates(warmup_rounds: int, schedule: str, num_rounds: int) -> list[float]:
    """Rates of the same schedule by torch: a linear rise, then the schedule with its own count of rounds."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    rise = (
        LinearLR(optimizer, start_factor=1 / (warmup_rounds + 1), total_iters=warmup_rounds) if warmup_rounds else None
    )
    after: LRScheduler = {
        "constant": lambda: ConstantLR(optimizer, factor=1.0),
        "step": lambda: StepLR(optimizer, step_size=4, gamma=0.45),
        "cosine": lambda: CosineAnnealingLR(optimizer, T_max=10, eta_min=0.02),
    }[schedule]()
    scheduler = SequentialLR(optimizer, [rise, after], [warmup_rounds]) if rise is not None else after
    rates = []
    for _ in range(num_rounds):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SequentialLR calls its parts in a way that torch itself deprecates
            scheduler.step()
    return rates


@pytest.mark.parametrize("warmup_rounds", [0, 1, 5])
@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_schedules_equal_torch(schedule: str, warmup_rounds: int) -> None:
    options = {"step": (4, 0.45, 0.0), "cosine": (10, 1.0, 0.02)}.get(schedule, (1, 1.0, 0.0))
    num_rounds = warmup_rounds + 10
    ours = [learning_rate_at(k, RATE, schedule, warmup_rounds, *options) for k in range(num_rounds)]  # type: ignore[arg-type]
    assert ours == pytest.approx(torch_rates(warmup_rounds, schedule, num_rounds), rel=1e-12)
    assert len(set(ours)) == {"constant": 1, "step": 3, "cosine": 10}[schedule] + warmup_rounds


def test_the_cosine_stays_at_its_final_rate() -> None:
    rates = [learning_rate_at(k, 1.0, "cosine", 0, 10, 0.1, 0.25) for k in (0, 5, 10, 11, 500)]
    assert rates == pytest.approx([1.0, 0.625, 0.25, 0.25, 0.25], abs=1e-15)
