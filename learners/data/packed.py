"""Files as bytes, unpacked where they are packed (.gz, .xz), without trust in what they hold.

Nothing is unpacked to disk, and never more than the caller expects: a small file that unpacks to gigabytes is refused after
the expected size. Every kind of damage is a ValueError of one line that begins with the file's name.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)

XZ_MEMORY_BYTES = 256 << 20
"""For the dictionary of an xz stream, whose size its header states; `xz -9` takes 64 MiB."""

PIECE_BYTES = 1 << 18


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The unpacked content, to be read from front to back. Turns what goes wrong while it is read into ValueError."""
    try:
        with path.open("rb") as file:
            if path.suffix == ".gz":
                yield gzip.GzipFile(fileobj=file)
            elif path.suffix == ".xz":
                yield io.BufferedReader(_Xz(file), PIECE_BYTES)
            else:
                yield file
    except DAMAGE as error:
        raise ValueError(f"{path}: damaged or cut off ({_reason(error)})") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {_reason(error)}") from None


def content(path: Path, num_bytes: int) -> bytes:
    """All of a file that unpacks to at most this many bytes; one more byte is returned where there is more."""
    with opened(path) as stream:
        return stream.read(num_bytes + 1)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error).rstrip(".")


class _Xz(io.RawIOBase):
    """An xz stream with a limit to its memory, which `lzma.open` does not have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decompressor.eof:
            packed = self._file.read(PIECE_BYTES) if self._decompressor.needs_input else b""
            if self._decompressor.needs_input and not packed:
                raise EOFError("the xz stream ends too early")
            piece = self._decompressor.decompress(packed, len(buffer))
            if piece:
                buffer[: len(piece)] = piece
                return len(piece)
        if self._decompressor.unused_data.strip(b"\0") or self._file.read(PIECE_BYTES).strip(b"\0"):
            raise EOFError("bytes behind the end of the xz stream")
        return 0
