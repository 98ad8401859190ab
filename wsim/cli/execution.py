"""From a command line to an exit code.

0; 2 for bad input (a scenario, a result file, data, the command line itself) and for a full disk; 130 for Ctrl-C; 1 for anything else. Whatever
goes wrong is one line on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence

import typer

from wsim.cli.commands import app
from wsim.errors import FULL, WsimError, one_line

INTERRUPTED = 130


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; whatever goes wrong is one line on stderr."""
    command = typer.main.get_command(app)
    interrupted: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        interrupted.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, interrupt)
    try:
        code = command.main(arguments, prog_name="wsim", standalone_mode=False)
    except WsimError as error:
        return _failed(str(error), error.exit_code)
    except MemoryError as error:
        return _failed(f"not enough memory: {str(error) or 'a smaller model or fewer devices may fit'}", 1)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except Exception as error:
        if interrupted:  # a library may turn an interrupted import into an error of its own
            return _failed("interrupted, nothing written", INTERRUPTED)
        if hasattr(error, "format_message"):  # the command line itself is wrong
            message = error.format_message().replace("Value error, ", "")  # empty: the help that was printed says it
            return _failed(f"{message} (wsim --help)", 2) if message else 2
        if isinstance(error, OSError) and error.errno in FULL:  # what stands on standard output, into a file
            return _failed(f"cannot be written: {(error.strerror or str(error)).lower()}; make room and try again", 2)
        if os.environ.get("WSIM_TRACEBACK"):
            raise
        what = f"{type(error).__name__}: {error}"
        return _failed(f"unexpected {what} (a fault of wsim; WSIM_TRACEBACK=1 shows where)", 1)
    if code == INTERRUPTED:
        return _failed("interrupted, nothing written", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    sys.stderr.write(f"error: {one_line(message)}\n")
    return code


def main() -> None:
    """The `wsim` command."""
    sys.exit(execute())
