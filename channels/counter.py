"""Random numbers as a function of a counter: hash(key, ids...) instead of a generator with a state.

The draw for (key, link, block 17) is the same whoever asks for it, in whatever order, and costs no memory. Mixing is the
finalizer of splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; constants of
Stafford's variant 13), once per id:

    h <- mix(h + (id + 1) * golden)        mod 2^64

so that for a fixed prefix the draws over consecutive ids are exactly a splitmix64 sequence. Not for cryptography.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_GOLDEN_U64 = np.uint64(_GOLDEN)
_MIX_1_U64 = np.uint64(_MIX_1)
_MIX_2_U64 = np.uint64(_MIX_2)
_S27, _S30, _S31, _S12 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(12)

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


def hash_int(key: int, *ids: int) -> int:
    """The hash of plain integers, as a plain integer below 2^64; equals `hash_u64` on the same numbers."""
    h = key & _MASK
    for i in ids:
        h = (h + (i + 1) * _GOLDEN) & _MASK
        h = ((h ^ (h >> 30)) * _MIX_1) & _MASK
        h = ((h ^ (h >> 27)) * _MIX_2) & _MASK
        h ^= h >> 31
    return h


def extend(prefix: Words, ids: NDArray[np.integer]) -> Words:
    """One more id mixed into hashes that exist.

    prefix: [...] uint64; ids: [...] integers, broadcast against prefix; at least one of them has a dimension.
    Returns [...] uint64.
    """
    h = ids.astype(np.uint64)
    h += np.uint64(1)
    h *= _GOLDEN_U64
    h = np.add(h, prefix)
    h ^= h >> _S30
    h *= _MIX_1_U64
    h ^= h >> _S27
    h *= _MIX_2_U64
    h ^= h >> _S31
    return h


def hash_u64(key: Any, *ids: Any) -> Words:
    """64 well-mixed bits per (key, ids...).

    key: int or [...] uint64; ids: ints or [...] integer arrays, broadcast against each other, order matters.
    Returns [...] uint64.
    """
    shape = np.broadcast_shapes(np.shape(key), *(np.shape(i) for i in ids))
    h: Any = int(key) & _MASK if np.ndim(key) == 0 else np.asarray(key).astype(np.uint64)
    for i in ids:
        if isinstance(h, int) and np.ndim(i) == 0:
            h = hash_int(h, int(i))
        else:
            h = extend(np.asarray(h, dtype=np.uint64), np.atleast_1d(np.asarray(i)))
    result: Words = np.broadcast_to(np.asarray(h, dtype=np.uint64), shape) if np.shape(h) != shape else np.asarray(h)
    return result


def to_uniform(words: Words) -> Floats:
    """[...] uint64 to [...] float64 in the open interval (0, 1): the upper 52 bits, at midpoints (mean exactly 1/2)."""
    u = (words >> _S12).astype(np.float64)
    u += 0.5
    u *= 2.0**-52
    return u


def uniform(key: Any, *ids: Any) -> Floats:
    """[...] uniform on (0, 1), both ends excluded; arguments as for `hash_u64`."""
    return to_uniform(hash_u64(key, *ids))


def exponential(key: Any, *ids: Any) -> Floats:
    """[...] exponential of mean 1, by inversion; arguments as for `hash_u64`."""
    return -np.log(uniform(key, *ids))


def normal(key: Any, *ids: Any) -> Floats:
    """[...] standard normal, by inversion of the distribution function; arguments as for `hash_u64`."""
    from scipy.special import ndtri

    draws: Floats = ndtri(uniform(key, *ids))
    return draws


def complex_normal(key: Any, *ids: Any) -> NDArray[np.complex128]:
    """[...] circularly symmetric complex normal, E|z|^2 = 1 (Box-Muller); arguments as for `hash_u64`."""
    words = hash_u64(key, *ids)
    radius = np.sqrt(-np.log(to_uniform(words)))
    angle = 2 * np.pi * to_uniform(extend(np.atleast_1d(words), np.zeros(1, np.int64)).reshape(words.shape))
    return radius * np.exp(1j * angle)
