"""The expected members of a tar archive (.tar, .tar.gz, .tar.xz), read in memory in one pass.

Nothing is extracted: a member is taken if it is an ordinary file with an expected name and size, whatever else the archive
holds is passed over, and reading ends where an honest archive would long have ended.
"""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

from learners.data.packed import opened

BESIDES_BYTES = 4 << 20
"""Headers, padding and other members (a readme, label names) that an archive may hold beside the expected members."""

TAR_DAMAGE = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError)


def read_members(path: Path, sizes: Mapping[str, int]) -> dict[str, bytes]:
    """The members of these names, each of exactly the given number of bytes. Raises ValueError, one line."""
    found: dict[str, bytes] = {}
    limit = sum(sizes.values()) + BESIDES_BYTES
    with opened(path) as stream:
        bounded: Any = _Bounded(
            stream, limit, f"{path}: unpacks to more than {limit:,} bytes, no archive of this data set"
        )
        try:
            with tarfile.open(fileobj=bounded, mode="r|", bufsize=1 << 16) as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if name not in sizes:
                        continue
                    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
                        raise _Refused(f"{path}: member {name} is no ordinary file")
                    if name in found:
                        raise _Refused(f"{path}: member {name} occurs twice")
                    if member.size != sizes[name]:
                        raise _Refused(f"{path}: member {name} has {member.size:,} bytes, not {sizes[name]:,}")
                    file = archive.extractfile(member)
                    found[name] = file.read(member.size) if file is not None else b""
                    if len(found[name]) != member.size:
                        raise _Refused(f"{path}: cut off in member {name}")
            while bounded.read(1 << 16):
                pass  # to the checksum at the end
        except _Refused:
            raise
        except TAR_DAMAGE as error:
            raise ValueError(f"{path}: no readable tar archive ({error})") from None
    missing = [name for name in sizes if name not in found]
    if missing:
        raise ValueError(f"{path}: has no member {missing[0]}")
    return found


class _Refused(ValueError):
    """A complaint that is complete as it is."""


class _Bounded:
    def __init__(self, stream: BufferedIOBase, limit: int, complaint: str) -> None:
        self._stream, self._left, self._complaint = stream, limit, complaint

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _Refused(self._complaint)
        return data
