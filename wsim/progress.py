"""How far a run is, and its display: one line that is drawn over itself several times a second."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Progress:
    """What the engine tells a few times a second.

    simulated_s: simulated time so far; rounds: rounds completed by then
    fraction: of the run, 0 to 1, of whichever stop condition is nearest
    accuracy: at the latest evaluation, None before the first and in an estimate
    rate_messages_per_s: messages per second of wall time
    """

    simulated_s: float
    rounds: int
    fraction: float
    accuracy: float | None
    rate_messages_per_s: float


Report = Callable[[Progress], None]


def describe(progress: Progress) -> str:
    """ "12.4 s, round 7, accuracy 0.912, 1,230 msg/s", short enough for a line of 80 characters."""
    parts = [f"{progress.simulated_s:,.1f} s", f"round {progress.rounds}"]
    if progress.accuracy is not None:
        parts.append(f"accuracy {progress.accuracy:.3f}")
    parts.append(f"{progress.rate_messages_per_s:,.0f} msg/s")
    return ", ".join(parts)


class Display(AbstractContextManager["Display"]):
    """A live line with a bar, the time left and `describe(progress)`; `update` is the engine's callback.

    Draws nothing where the console is no terminal. The line is removed at the end, whatever ended the run.
    """

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            BarColumn(bar_width=12),
            TaskProgressColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}"),
        )
        enabled = console.is_terminal
        self._bar = Bar(*columns, console=console, transient=True, disable=not enabled, refresh_per_second=5)
        self._task = self._bar.add_task("starting", total=1.0)

    def update(self, progress: Progress) -> None:
        completed = min(max(progress.fraction, 0.0), 1.0)
        self._bar.update(self._task, completed=completed, description=describe(progress))

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
