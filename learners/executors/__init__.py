"""Ways to run ops: at once and one by one (eager), many devices at a time (batched), or shapes only (null)."""

import torch._dynamo  # noqa: F401  # torch.func loads it at its first use, for a second: an import, no part of a run's time

from learners.executors.base import Executor
from learners.executors.batched import BatchedExecutor
from learners.executors.eager import EagerExecutor
from learners.executors.null import NullExecutor

__all__ = ["EXECUTORS", "BatchedExecutor", "EagerExecutor", "Executor", "NullExecutor"]

EXECUTORS = {"batched": BatchedExecutor, "eager": EagerExecutor, "null": NullExecutor}
