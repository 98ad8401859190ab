"""Where the files of a data set lie: in the folder that is named, in the folder of WSIM_DATA, or fetched into a cache.

A named folder has to hold the set. WSIM_DATA names a folder of several sets; what it does not hold is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from learners.data.fetching import Download, fetch

VARIABLE = "WSIM_DATA"


@dataclass(frozen=True)
class Layout:
    """One way in which a set is stored. folders: where to look, below the data folder ("" is that itself), in this order.
    files: all that have to be there, each as it is or gzipped (name + ".gz")."""

    folders: tuple[str, ...]
    files: tuple[str, ...]


def locate(name: str, folder: str | None, layouts: Sequence[Layout], downloads: Sequence[Download]) -> list[Path]:
    """The files of the first complete layout, in order.

    name: of the data set; folder: named by the user, else None; downloads: () for a set that cannot be fetched.
    Raises ValueError, one line that says what to do.
    """
    if folder is not None:
        found = _found(name, Path(folder), f"folder = {folder!r}", layouts)
        if found is None:
            places = sorted({below for layout in layouts for below in layout.folders if below})
            raise ValueError(
                f"folder = {folder!r}: {_files(layouts)} of {name} are neither there nor in {', '.join(places)} below it"
            )
        return found
    variable = os.environ.get(VARIABLE)
    if variable:
        found = _found(name, Path(variable), f"{VARIABLE} = {variable!r}", layouts)
        if found is not None:
            return found
    advice = f"name the folder that holds {_files(layouts)} by the key folder or the environment variable {VARIABLE}"
    if not downloads:
        place = f"is not in {VARIABLE} = {variable!r} and " if variable else ""
        raise ValueError(f"{name} {place}cannot be downloaded: {advice}")
    try:
        return [fetch(name, download) for download in downloads]
    except ValueError as error:
        raise ValueError(f"{error}; {advice}") from None


def _found(name: str, folder: Path, label: str, layouts: Sequence[Layout]) -> list[Path] | None:
    """None where no file of the set lies in the folder; ValueError where the folder or some of the files are missing."""
    if not folder.is_dir():
        raise ValueError(f"{label}: {'no folder' if folder.exists() else 'there is no such folder'}")
    incomplete = ""
    for layout in layouts:
        for below in layout.folders:
            paths = [_file(folder / below, file) for file in layout.files]
            complete = [path for path in paths if path is not None]
            if len(complete) == len(paths):
                return complete
            if complete and not incomplete:
                absent = layout.files[paths.index(None)]
                incomplete = f"{folder / below}: {absent} of {name} is missing, {complete[0].name} is there"
    if incomplete:
        raise ValueError(incomplete)
    return None


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _files(layouts: Sequence[Layout]) -> str:
    """The layouts in words."""
    return " or ".join(layout.files[0] if len(layout.files) == 1 else f"{layout.files[0]} ..." for layout in layouts)


@dataclass(frozen=True)
class Stamp:
    """A file as it is now: a key for what was read from it."""

    path: Path
    num_bytes: int
    modified_ns: int


def stamp(paths: Sequence[Path]) -> tuple[Stamp, ...]:
    """The present state of each file. Raises ValueError where one cannot be looked at."""
    try:
        states = [(path, path.stat()) for path in paths]
    except OSError as error:
        raise ValueError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return tuple(Stamp(path, state.st_size, state.st_mtime_ns) for path, state in states)
