"""What learners have in common that train encoders with Adam and send neighbors statistics of their classes' features, no models."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from learners.decentralized.neighbor_sgd import Heard, NeighborSgd, Sent
from learners.local_step import OptimizerName
from learners.models.flat import Model
from learners.protocol import Batches, Message, Node, Receive, Received
from learners.quantities import Count, LearningRate, PositiveOrZero
from learners.task import cross_entropy


class Links(Protocol):
    """What a device holds of others."""

    def receive(self, message: Message) -> Generator[Any, Any, None]: ...


@dataclass(frozen=True)
class StatisticsSgd(NeighborSgd):
    """Local training as in `LocalSgd`, with Adam by default; `default_local_epochs` passes a round if neither local_steps nor
    local_epochs is given. The defaults are those of the reference codes of the methods."""

    learning_rate: LearningRate = 0.01
    batch_size: Count = 1000
    weight_decay: PositiveOrZero = 1e-5
    local_optimizer: OptimizerName = "adam"

    needs_classes: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("coding_rate_reduction",)
    heterogeneous: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    takes_momentum: ClassVar[bool] = False
    takes_matrix: ClassVar[None] = None
    leaves_out_rounds: ClassVar[bool] = True
    reports: ClassVar[tuple[str, ...]] = ()
    default_local_steps: ClassVar[int | None] = None
    default_local_epochs: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.local_steps is None and self.local_epochs is None:
            object.__setattr__(self, "local_epochs", self.default_local_epochs)
        super().__post_init__()
        if self.mixing_weights != "metropolis":
            raise ValueError(
                f"mixing_weights = {self.mixing_weights!r}: neighbors are not averaged here; leave this out"
            )

    def check_parts(self, class_counts: np.ndarray) -> None:
        """Raise ValueError where a minibatch has no room for all classes of a device, unless each sample is a term of the objective by
        itself. class_counts: int [num_devices, num_classes]."""
        if getattr(self.task, "objective", None) is cross_entropy:
            return
        for device, held in enumerate((class_counts > 0).sum(1).tolist()):
            if self.batch_size < held:
                raise ValueError(
                    f"batch_size = {self.batch_size}: device {device} holds {held} classes, and a batch needs samples of "
                    f"each; {20 * held} make some 20 a class"
                )

    def check_models(self, models: Sequence[Model]) -> None:
        """Raise ValueError unless all representations have one length."""
        dims = sorted({model.feature_dim for model in models})
        if len(dims) > 1:
            raise ValueError(
                f"feature_dim {', '.join(map(str, dims))}: class statistics of one size travel, so one for all devices"
            )

    def size(self, node: Node) -> int:
        """Samples a minibatch: not many more than the device has (rounded up to eights, so that devices share their ops)."""
        return min(self.batch_size, -(-node.num_samples // 8) * 8)

    def batches(self, node: Node) -> Batches:
        return node.batches(
            self.size(node), steps=self.local_steps, epochs=self.local_epochs, crop_padding=self.crop_padding
        )

    def gather_statistics(self, node: Node, sent: Sent, links: Links) -> Generator[Any, Any, Heard]:
        """What the neighbors sent in this round; what of an earlier one has come late is kept, too."""
        received = Received(())
        if sent.heard:
            number = sent.k * self.exchanges
            received = yield Receive(sent.heard, sent.kind, number, timeout_s=self.deadline_s, late=True)
        for message in (*received.late, *received.messages):
            yield from links.receive(message)
        return Heard(sent, received, node.tensor([]))
