"""Megabytes of float32 a second that each codec compresses and decompresses, on one thread, without a simulation around it.

python -m benchmarks.codecs
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.compression.affine import Int4Affine, Int8Affine
from learners.compression.bfloat16 import BFloat16
from learners.compression.float16 import Float16
from learners.compression.natural import Natural
from learners.compression.onebit import OneBit
from learners.compression.qsgd import Qsgd
from learners.compression.randk import RandK
from learners.compression.sign import Sign
from learners.compression.stc import Stc
from learners.compression.ternary import Ternary
from learners.compression.topk import TopK
from learners.compression.uniform import Uniform
from learners.loopback import LoopbackNode
from learners.tensors import keep_freed_memory, set_threads

SIZES = (1_200, 16, 12_800, 32, 400_000, 500, 250_000, 500, 5_000, 10)
"""Values in each tensor of the model: 670,058, 2.7 MB."""

CODECS: dict[str, Any] = {
    "float16": Float16(),
    "bfloat16": BFloat16(),
    "int8_affine": Int8Affine(),
    "int4_affine": Int4Affine(),
    "uniform": Uniform(),
    "qsgd": Qsgd(),
    "qsgd_4bit_packet": Qsgd(7, scale_per="packet"),
    "ternary": Ternary(),
    "sign": Sign(),
    "onebit": OneBit(),
    "natural": Natural(),
    "topk": TopK(0.01),
    "randk": RandK(0.01),
    "stc": Stc(0.01),
}
"""With the defaults of a scenario; one percent of the values."""

REPEATS = 7


def measure() -> dict[str, float]:
    """MB/s by codec (10^6 bytes of float32 a CPU second), the best of seven: NAME, the tensor path of a run (`payload`: what the
    receiver will hold, noise included); NAME_tensors, `compress` and `decompress`; NAME_bytes, with `encode` and `decode` between
    them, which a run never does."""
    set_threads(1)
    keep_freed_memory()  # as a run does
    rng = np.random.default_rng(1)
    model = SimpleNamespace(shapes=tuple((size,) for size in SIZES))
    node = LoopbackNode(0, (), None, rng, task=SimpleNamespace(model=model))
    v = torch.from_numpy(rng.standard_normal(sum(SIZES), dtype=np.float32))
    rates = {}
    for name, codec in CODECS.items():
        encoding = codec.encoding(len(v), node)

        rates[name] = _rate(partial(codec.payload, v, node), REPEATS)
        rates[f"{name}_tensors"] = _rate(partial(_decoded, encoding, v, node, False), REPEATS)
        rates[f"{name}_bytes"] = _rate(partial(_decoded, encoding, v, node, True), 2)
    return rates


def _decoded(encoding: Any, v: Tensor, node: LoopbackNode, bytes_between: bool) -> Any:
    sent = encoding.compress(v, node.uniform(len(v)))
    if bytes_between:
        sent = encoding.decode(encoding.encode(sent, v.shape), v.shape)
    return encoding.decompress(sent, v.shape)


def _rate(work: Callable[[], Any], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return 4e-6 * sum(SIZES) / min(seconds)


if __name__ == "__main__":
    for name, rate in measure().items():
        print(f"{name:24} {rate:8,.0f} MB/s")
