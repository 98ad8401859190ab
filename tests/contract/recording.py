"""A learner that passes every request and answer of another one on and keeps a record of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from learners import registry
from learners.protocol import Learner, Message, Node, Payload, Received, Report, Send, Service
from wsim.driver import describe
from wsim.engine import simulate
from wsim.record import RunRecord
from wsim.scenario import Loaded

Trace = dict[int, list[tuple[Any, ...]]]


@dataclass
class Recording:
    """Stands in for `learner`; the lists grow while its programs run.

    traces: node -> its requests and receptions in order, as lines without values or times
    reported: (node, name, value), but for models after local training, which are the others' beginnings; sent: payloads; received: messages; nodes: by id
    """

    learner: Any
    traces: Trace = field(default_factory=dict)
    reported: list[tuple[int, str, Any]] = field(default_factory=list)
    sent: list[Payload] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=dict)

    def __getattr__(self, name: str) -> Any:
        """What the learner says of itself."""
        return getattr(self.learner, name)

    def program(self, node: Node) -> Any:
        programs = self.learner.program(node)
        self.nodes[node.id] = node
        self.traces[node.id] = []
        if isinstance(programs, Sequence):
            return [self._recorded(node.id, program) for program in programs]
        return self._recorded(node.id, programs)

    def _recorded(self, id: int, program: Any) -> Any:
        if isinstance(program, Service):
            return Service(self._pass_on(id, program.program))
        return self._pass_on(id, program)

    def _pass_on(self, id: int, program: Generator[Any, Any, None]) -> Generator[Any, Any, None]:
        trace, answer = self.traces[id], None
        while True:
            try:
                request = program.send(answer)
            except StopIteration:
                return
            trace.append(describe(request))
            if isinstance(request, Report):
                if not request.name.endswith("after_local_training"):
                    self.reported.append((id, request.name, request.value))
            elif isinstance(request, Send):
                self.sent.append(request.payload)
            answer = yield request
            if isinstance(answer, Received):
                trace.append(("received", answer.senders, answer.missing))
                self.received += answer.messages

    def models(self) -> list[Any]:
        """The tensors of all reported models, in order of time."""
        return [tensor for _, name, value in self.reported if name == "model" for tensor in tensors_of(value)]


def record(loaded: Loaded, executor: str = "batched", **keys: Any) -> tuple[RunRecord, Recording]:
    """Run a scenario's own learner, recorded."""
    made: list[Recording] = []

    def make(task: Any, codec: Any, num_rounds: int | None) -> Recording:
        made.append(Recording(learner_of(loaded)(task, codec, num_rounds)))
        return made[0]

    return simulate(loaded, executor, learner=make, **keys), made[0]


def learner_of(loaded: Loaded) -> Callable[[Any, Any, int | None], Learner]:
    """(task, codec, num_rounds) -> the learner that the scenario names."""
    algorithm = loaded.scenario.algorithm
    make = registry.load("learner", algorithm.name)
    return lambda task, codec, num_rounds: make(
        task=task, codec=codec, num_rounds=num_rounds, **algorithm.hyperparameters
    )


def tensors_of(value: Any) -> list[Any]:
    """The tensors of a reported value: one, several in a tuple, or none."""
    parts = value if isinstance(value, tuple) else (value,)
    return [value_of(part) for part in parts if part is not None]


def value_of(value: Any) -> Any:
    """A tensor or a deferred value as a tensor."""
    return value.tensor() if hasattr(value, "executor") else value
