"""What learners between devices have in common that train by SGD and exchange models, with or without rounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from learners.local_sgd import LocalSgd


@dataclass(frozen=True)
class PeerSgd(LocalSgd):
    """Local training as in `LocalSgd`; one step (the papers') if neither local_steps nor local_epochs is given. Every device
    keeps its momentum buffer."""

    uses_server: ClassVar[bool] = False
    synchronous: ClassVar[bool] = True
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)
    default_local_steps: ClassVar[int | None] = 1
    keeps_momentum: ClassVar[bool] = True
