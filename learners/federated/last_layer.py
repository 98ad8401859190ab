"""The last, linear layer of models whose lower layers differ: where it is in the flat row, and learners that have it in common."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

from learners.federated.shared_part import SharedPartSgd, in_one_row, parts_of
from learners.models.flat import Model, num_params
from learners.protocol import Node, Report, Value


def sizes(node: Node) -> tuple[int, int]:
    """Numbers of the body and of the last layer of a node's model, whose last two tensors are that layer's."""
    shapes = node.task.model.shapes
    header = sum(prod(shape) for shape in shapes[-2:])
    return num_params(shapes) - header, header


@dataclass(frozen=True)
class LastLayerSgd(SharedPartSgd):
    """Rounds as in `ServerSgd`. The last layer is common, and starts as that of [model]; the rest is each device's own."""

    learner_name: ClassVar[str]
    """As registered, for messages."""

    def check_models(self, models: Sequence[Model]) -> None:
        """Raise ValueError unless all architectures have a last layer of one size, that of [model]."""
        shared = self.task.model.feature_dim
        others = sorted({model.feature_dim for model in models} - {shared})
        if others:
            found = ", ".join(map(str, others))
            raise ValueError(
                f"representation of {shared} numbers (the last hidden layer), of variants {found}: {self.learner_name} shares the "
                "last layer, whose size has to be the same"
            )

    def initial_part(self, node: Node) -> Value:
        return parts_of(node.initial_parameters, sizes(node))[1]

    def begun(self, node: Node) -> Generator[Report, Any, tuple[Value, Value]]:
        """A client's body, and its copy of the common layer, before it is first invited. `yield from` it."""
        for name in ("model", "after_local_training"):
            yield Report(name, node.initial_parameters)
        body, header = parts_of(node.initial_parameters, sizes(node))
        return body, header

    def trained(self, node: Node, body: Value, header: Value) -> Generator[Any, Any, tuple[int, Value, Value]]:
        """The next round, the common layer that came for it, and the client's model after local training. header: the last copy.
        `yield from` it."""
        k, header = yield from self.received_part(node, header)
        x = in_one_row((body, header))
        yield Report("model", x)
        x = yield from self.train(node, x, k, self.batches(node))
        yield Report("after_local_training", x)
        return k, header, x
