"""Files that appear whole or not at all: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterable
from pathlib import Path

from wsim.errors import ResultError, WriteError


def check_target(path: str | Path, force: bool = False) -> Path:
    """Fail early, before the work: the path must be free (or `force`), in a directory that exists or can be made.

    Returns the path. Raises ResultError.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ResultError(f"{path}: is a directory; name a file in it")
        if path.exists() and not force:
            raise ResultError(f"{path}: exists already; choose another name or overwrite it with --force")
        if path.parent.exists() and not path.parent.is_dir():
            raise ResultError(f"{path}: cannot be written ({path.parent} is not a directory); choose another place")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            """Permissions do not tell all: a file can be made here."""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ResultError(f"{path}: cannot be written ({_reason(error)}); choose another place") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ResultError(f"{path}: cannot be written (no permission in {path.parent}); choose another place")
    return path


def write_atomically(path: str | Path, data: bytes, force: bool = False) -> None:
    """Write `data` to `path` so that a crash or Ctrl-C leaves either the whole file or none under that name.

    The temporary file is removed whatever is raised; a process that is killed leaves it under its own name, which ends in
    .tmp (`fragments`). Raises ResultError for a bad place, WriteError for what happens later.
    """
    path = check_target(path, force)
    temporary = path.with_name(f".{_mark(path.name)}-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            check_target(path, force)  # another run may have finished meanwhile
            os.replace(temporary, path)
        except BaseException:  # Ctrl-C too
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise WriteError(f"{path}: cannot be written ({_reason(error)}); nothing is left behind") from error


def fragments(folder: Path, names: Iterable[str]) -> list[Path]:
    """The temporary files of targets of these names: of processes that were killed, or that are writing them now."""
    marks = {_mark(name) for name in names}
    return [path for path in folder.glob(".*-*.tmp") if path.name[1:].partition("-")[0] in marks]


def _mark(name: str) -> str:
    """What tells the temporary files of one target from others', of a fixed length since names have a longest one."""
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _reason(error: Exception) -> str:
    """The operating system's words without the path, which the message names already."""
    return (getattr(error, "strerror", None) or str(error)).lower()
