"""Rand-k: k values at places drawn at random; all others count as zero.

    k = max(1, floor(ratio d)),   places: every set of k of the d places has the same chance

    contractive   the values as they are:            E ||C(p) - p||^2 = (1 - k/d) ||p||^2, biased: with error feedback
    unbiased      the values times d / k:            E C(v) = v,  E ||C(v) - v||^2 = (d/k - 1) ||v||^2

Stich, Cordonnier and Jaggi, "Sparsified SGD with memory", NeurIPS 2018 (arXiv 1809.07599), Definition 2.1; the unbiased form of
Wangni et al., NeurIPS 2018 (arXiv 1710.09854). For changes of a model only.

Sends k values of 32 bits (16: half precision, as the codec float16 rounds), in ascending order of their places, and where they
are: index = "seed", the 64 bits of the seed that the places are drawn from, before all values, or as top-k does ("packed", "int32",
"bitmap"). Ours: the seed is drawn for each message from the sender's own noise, and the places from it by numpy's PCG64 and
`Generator.choice`, on both ends.

Lost packets: as for top-k; without its seed nothing can be read of a message. What is not finite stays as it is, drawn or not, so
that a run that diverges is seen to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from learners.compression.bits import (
    float16_bits,
    float16_from,
    float32_bits,
    float32_from,
    from_bits,
    pack,
    to_bits,
    unpack,
)
from learners.compression.codec import Tensors, VectorCodec, refuse_non_finite, spans_received, values_received
from learners.compression.float16 import to_half
from learners.compression.topk import TopK
from learners.deferred import op
from learners.fields import check_choice
from learners.protocol import Node, Payload, Value
from learners.quantities import Part

SEED_BITS = 64
NOISE_BITS = 24
NUM_NOISE = 3
"""Numbers of noise, multiples of 2^-24, that make a seed."""

OPERATIONS_PER_VALUE_SENT = 2
"""Charged for encoding: drawing its place, the product with d / k."""


def seed_of(noise: Tensor) -> int:
    """64 bits from up to three numbers in [0, 1); whatever is there in an estimate, where nothing is drawn."""
    numbers = np.nan_to_num(noise[:NUM_NOISE].double().numpy()).clip(0, 1 - 2.0**-NOISE_BITS)
    whole = sum(int(number * 2**NOISE_BITS) << (NOISE_BITS * i) for i, number in enumerate(numbers))
    return whole % 2**SEED_BITS


def places_of(seed: int, num_values: int, k: int) -> np.ndarray:
    """int64 [k], ascending: a k-subset of 0 .. num_values - 1."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return np.sort(rng.choice(num_values, k, replace=False, shuffle=False))


def drawn(v: Tensor, places: Tensor, factor: float, value_bits: int) -> Tensor:
    """[k] the values at these places as they are sent."""
    values = v.gather(0, places) * factor
    return to_half(values) if value_bits == 16 else values


@op(flops=lambda x, places, factor, value_bits: OPERATIONS_PER_VALUE_SENT * places.numel())
def keep_drawn(x: Tensor, places: Tensor, factor: float, value_bits: int) -> Tensor:
    """x [...] as the receiver will hold it. places: int64 [k]."""
    v = x.flatten()
    elsewhere = torch.where(v.isfinite(), 0, v)
    return elsewhere.scatter(0, places, drawn(v, places, factor, value_bits).to(x.dtype)).reshape(x.shape)


@dataclass(frozen=True)
class RandK(VectorCodec):
    """ratio: the part of the values that is sent, k/d. index: how the receiver learns their places. value_bits: of each value sent.
    unbiased: values times d / k, without error feedback.
    error_feedback: what is not sent now is added to the next difference; false with unbiased, or to see what that does."""

    ratio: Part
    index: Literal["seed", "packed", "int32", "bitmap"] = "seed"
    value_bits: Literal[32, 16] = 32
    unbiased: bool = False
    error_feedback: bool = True

    differences_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("index", self.index, ("seed", "packed", "int32", "bitmap"))
        self.num_kept(1)  # checks the other two
        if self.unbiased and self.error_feedback:
            raise ValueError(
                "unbiased = True: its error may grow without end under error feedback; error_feedback = false"
            )

    @cached_property
    def _sparse(self) -> TopK:
        """The format of places that are sent."""
        return TopK(self.ratio, "packed" if self.index == "seed" else self.index, self.value_bits)

    def num_kept(self, num_values: int) -> int:
        """k, as top-k counts."""
        return self._sparse.num_kept(num_values)

    def encoded(self, x: Value, num_values: int, node: Node) -> Payload:
        places = self._places(node.uniform(min(NUM_NOISE, num_values)), num_values)
        args = x, torch.from_numpy(places), self._factor(num_values), self.value_bits
        fragments = DrawnFragments(self, places)
        return Payload(keep_drawn(*args), self.num_bits((num_values,)), fragments, num_values, keep_drawn.flops(*args))

    def encoding(self, num_values: int, node: Node) -> Self:
        return self

    def compress(self, v: Tensor, noise: Tensor | None = None) -> Tensors:
        """(places int64 [k], or the seed int64 [1], as two's complement; values [k]). noise: three numbers, more are not used."""
        refuse_non_finite(v)
        if noise is None:
            raise ValueError("noise = None: places are drawn at random")
        v, seed = v.flatten(), seed_of(noise)
        places = torch.from_numpy(places_of(seed, len(v), self.num_kept(len(v))))
        values = drawn(v, places, self._factor(len(v)), self.value_bits)
        if self.index == "seed":
            return torch.from_numpy(np.array([seed], dtype=np.uint64).view(np.int64)), values
        return places, values

    def decompress(self, tensors: Tensors, shape: tuple[int, ...]) -> Tensor:
        places, values = tensors
        if self.index == "seed":
            num_values = prod(shape)
            seed = int(places.item()) % 2**SEED_BITS
            places = torch.from_numpy(places_of(seed, num_values, self.num_kept(num_values)))
        return self._sparse.decompress((places, values), shape)

    def num_bits(self, shape: tuple[int, ...]) -> int:
        if self.index == "seed":
            return SEED_BITS + self.num_kept(prod(shape)) * self.value_bits
        return self._sparse.num_bits(shape)

    def encode(self, tensors: Tensors, shape: tuple[int, ...]) -> bytes:
        if self.index != "seed":
            return self._sparse.encode(tensors, shape)
        seed, values = (tensor.numpy() for tensor in tensors)
        value_bits = (float16_bits if self.value_bits == 16 else float32_bits)(values)
        return pack(np.concatenate([to_bits(seed, SEED_BITS), value_bits]))

    def decode(self, data: bytes, shape: tuple[int, ...]) -> Tensors:
        if self.index != "seed":
            return self._sparse.decode(data, shape)
        bits = unpack(data)
        seed = from_bits(bits[:SEED_BITS], SEED_BITS)
        values = (float16_from if self.value_bits == 16 else float32_from)(bits[SEED_BITS:])
        return torch.from_numpy(seed), torch.from_numpy(values)

    def entries_received(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `TopK.entries_received`."""
        if self.index != "seed":
            return self._sparse.entries_received(arrived, packet_payload_bits, num_values, first_bit)
        readable = spans_received(arrived, packet_payload_bits, np.full(num_values, first_bit), SEED_BITS)
        k, first = self.num_kept(num_values), first_bit + SEED_BITS
        return values_received(arrived, packet_payload_bits, k, self.value_bits, first), readable

    def _places(self, noise: Tensor, num_values: int) -> np.ndarray:
        return places_of(seed_of(noise), num_values, self.num_kept(num_values))

    def _factor(self, num_values: int) -> float:
        return num_values / self.num_kept(num_values) if self.unbiased else 1.0


@dataclass(frozen=True)
class DrawnFragments:
    """What survives of one rand-k message. places: int64 [k]."""

    codec: RandK
    places: np.ndarray

    def received_mask(
        self, arrived: np.ndarray, packet_payload_bits: int, num_values: int, first_bit: int = 0
    ) -> np.ndarray:
        entries, readable = self.codec.entries_received(arrived, packet_payload_bits, num_values, first_bit)
        mask = np.zeros(num_values, dtype=bool)
        mask[self.places] = entries
        return mask & readable
