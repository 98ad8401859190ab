"""A look at an HDF5 file before libhdf5 sees it: can every global heap be walked to its end?

Texts lie in global heap collections. libhdf5 (2.0) walks one by the sizes that it holds and stands still for ever at a free
object of size 0, so that a file with such a collection hangs the process, out of reach of any signal handler.

Collection (HDF5 File Format Specification 3.0, section III.E): "GCOL", version 1, 3 zero bytes, size of the collection
(8 bytes), then objects: index (2; 0 is free space), reference count (2), reserved (4), size (8), data. The size of a free
object includes its header; that of any other does not, and its data are padded to a multiple of 8.
"""

from __future__ import annotations

import struct

_COLLECTION = struct.Struct("<4sB3sQ")
_OBJECT = struct.Struct("<HH4xQ")
_MAGIC = b"GCOL\x01\x00\x00\x00"


def heaps_end(content: bytes) -> bool:
    """Whether every collection of the file is walked to its end in steps forward."""
    start = content.find(_MAGIC)
    while start >= 0:
        end = _end_of(content, start)
        if end is None:
            return False
        start = content.find(_MAGIC, end)
    return True


def _end_of(content: bytes, start: int) -> int | None:
    """Where the collection at `start` ends, None where walking it does not get there."""
    if start + _COLLECTION.size > len(content):
        return None
    *_, size = _COLLECTION.unpack_from(content, start)
    end, place = start + size, start + _COLLECTION.size
    if not place <= end <= len(content):
        return None
    while place + _OBJECT.size <= end:
        index, _, length = _OBJECT.unpack_from(content, place)
        place += length if index == 0 else _OBJECT.size + -(-length // 8) * 8
        if index == 0 and length == 0:
            return None
    return end if place <= end else None
