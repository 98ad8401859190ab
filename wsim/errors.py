"""What can go wrong, as one clear line each.

Every error a user may meet is a `WsimError`: the command line prints its text as one line on stderr, without a
traceback, and leaves with its `exit_code`. Each takes one string (SimPy rebuilds an exception from its `args`).
"""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the operating system's errors where there is no room for a file."""


class WsimError(Exception):
    """Base class. `exit_code`: 2 where the input or its place is at fault, 1 otherwise. The message is always one line."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class ScenarioError(WsimError):
    """A scenario file, or an override of one, that cannot be run as it is written."""

    exit_code = 2


class ResultError(WsimError):
    """A result file that cannot be read, or may not be written."""

    exit_code = 2


class FormatError(ResultError):
    """A result file that is whole, of another version of the format."""


class WriteError(ResultError):
    """A file that could not be written although its place was good: a full disk, a file that has appeared meanwhile."""


class DataError(WsimError):
    """Data that is missing, damaged or of the wrong shape."""

    exit_code = 2


class Interrupted(WsimError):
    """Ctrl-C after something had been written already."""

    exit_code = 130


class SimulationError(WsimError):
    """A run that cannot go on, such as programs that wait for each other for ever."""


class StudyError(WsimError):
    """Runs of a study that failed; the others have their results."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ValidationFailed(WsimError):
    """Models that are farther from theory than they may be."""


def one_line(text: str) -> str:
    """The text with every line break and control character turned into a blank, so that it prints as one line."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
