"""Named random streams: one independent generator per (seed, purpose, ids).

A stream is found by hashing its name, never by the order in which streams were asked for, so adding a device, swapping the
learner or recording more shifts no other stream (common random numbers). Per-link draws use the 64-bit `key` of a name in
the counter-based generators of `channels.counter`.
"""

from __future__ import annotations

import hashlib

import numpy as np

PURPOSES = {
    "data": (
        "split",
        "partition",
        "local_test",
        "public",
        "train_subset",
        "mixture",
        "batches",
        "augmentation",
        "scale",
    ),
    "radio": (
        "placement",
        "indoor",
        "mobility",
        "channel",
        "compute_spread",
        "jitter",
        "forced_loss",
        "analog_noise",
        "graph",
        "beacon",
        "churn",
    ),
    "learner": ("initial_parameters", "learner", "codec"),
}
"""Which streams follow which of the scenario's `seeds`; a name not listed is an error."""

_PURPOSE_OF = {name: purpose for purpose, names in PURPOSES.items() for name in names}


class Streams:
    """`streams("mobility", device)` is a fresh numpy Generator, the same for the same arguments and seed."""

    def __init__(
        self, seed: int, data: int | None = None, radio: int | None = None, learner: int | None = None
    ) -> None:
        named = {"data": data, "radio": radio, "learner": learner}
        self._seeds = {purpose: seed if value is None else value for purpose, value in named.items()}

    def _digest(self, name: str, ids: tuple[int, ...]) -> bytes:
        seed = self._seeds[_PURPOSE_OF[name]]
        return hashlib.blake2b(repr((seed, name, ids)).encode(), digest_size=32).digest()

    def __call__(self, name: str, *ids: int) -> np.random.Generator:
        entropy = np.frombuffer(self._digest(name, ids), dtype=np.uint32)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy.tolist())))

    def key(self, name: str, *ids: int) -> int:
        """A 64-bit key for counter-based draws."""
        return int.from_bytes(self._digest(name, ids)[:8], "little")
