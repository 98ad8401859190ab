"""Work on the processors of nodes. Tensor work is only recorded (see `learners.deferred`): what takes time are its FLOPs."""

from __future__ import annotations

from learners.protocol import Compute
from wsim.accounts import Processors
from wsim.clock import NS_PER_S, Clock
from wsim.driver.runner import COMPUTING, Runner, Wait
from wsim.driver.timers import Timers
from wsim.node import SimNode


class Computing:
    def __init__(self, clock: Clock, processors: Processors, timers: Timers) -> None:
        self._clock = clock
        self._processors = processors
        self._timers = timers

    def compute(self, runner: Runner, request: Compute) -> Wait:
        """Answers a `Compute`."""
        value, flops = request.op.priced(*request.args)
        done_ns = self.done_ns(runner.node, flops * request.work)
        return self._timers.wait_until(runner, done_ns, value, COMPUTING)

    def done_ns(self, node: SimNode, flops: float) -> int:
        """When the node's processor will have done this work, which is queued now."""
        seconds = flops / node.effective_flops * node.jitter()
        duration_ns = max(round(seconds * NS_PER_S), 1)  # work takes time
        return self._processors.run(node.index, self._clock.now_ns, duration_ns)
