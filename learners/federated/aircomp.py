"""Over-the-air computation: the sum that a server wants is formed by the waves themselves.

Zhu, Wang and Huang, "Broadband analog aggregation for low-latency federated edge learning", IEEE Trans. Wireless Commun. 19
(2020) (arXiv 1812.11494), with truncated channel inversion. All clients send at once, uncoded, each real value as an amplitude;
client k scales by b_k so that all arrive with one receive SNR rho, and is silent where its power does not reach:

    y = sum_k h_k b_k s_k + z,   h_k b_k = sqrt(rho) if P |h_k|^2 / noise >= rho, else b_k = 0         E s_k^2 <= 1, E z^2 = 1
    s_k = n_k d_k / v,           v = max_k n_k rms(d_k)                                d_k: how far client k came, n_k: its samples
    w  <- w + v y / (sqrt(rho) sum_{active k} n_k)

The error of the mean is noise of variance v^2 / (rho (sum_{active} n_k)^2) a value, and the updates of the silent. A high rho
makes the first small and the second large: the paper's trade-off. `channels.over_the_air` has the formulas.

The paper's: alignment, truncation, the division by those who are active, whom the server knows. It truncates every subcarrier
by its own fading and sets rho by a long-term power budget; here a client is heard in whole or not, in a band that fades as one, and rho
is given, under a limit on the peak power. Channel knowledge at the clients is exact and free, and so is the common time at the
symbol level. What is not free, all of it digital and reliable where the transport is:

    server -> clients   the model, kind "model", round 2k                    32 * num_params bits with float32
    client -> server    n_k rms(d_k), kind "ready", round k                  32 bits
    server -> ready     v and when to begin, kind "model", round 2k + 1      64 bits each; who gets it too late is silent
    client -> server    s_k, analog, kind "update", round k                  ceil(num_params / 2) symbols, for all clients together
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import Any

from torch import Tensor

from learners.compression.float32 import Float32
from learners.deferred import op
from learners.protocol import SERVER, Compute, Message, Node, Observe, Payload, Receive, Send, Sleep, Value

NUMBER_BITS = 32


@op(flops=lambda difference, samples: 2 * difference.numel() + 3)
def level(difference: Tensor, samples: Tensor) -> Tensor:
    """n rms(d), a scalar. difference: [num_params]; samples: a scalar, n."""
    return samples * difference.square().mean().sqrt()


@op(loop=True, ragged=("levels",), flops=lambda levels: levels.numel() + 1)
def largest(levels: Tensor) -> Tensor:
    """v, the largest of the levels [m]; above zero, so that it can be divided by."""
    return levels.max().clamp(min=1e-20)


@op(flops=lambda difference, samples, largest_level: 2 * difference.numel())
def normalized(difference: Tensor, samples: Tensor, largest_level: Tensor) -> Tensor:
    """s = n d / v. [num_params]"""
    return difference * samples / largest_level


@op(
    loop=True,
    ragged=("signals", "amplitudes"),
    flops=lambda w, signals, amplitudes, noise, largest_level, divisor: 4 * w.numel(),
)
def add_heard(
    w: Tensor, signals: Tensor, amplitudes: Tensor, noise: Tensor, largest_level: Tensor, divisor: Tensor
) -> Tensor:
    """w + v y / divisor with y = sum_k a_k s_k + z. signals: m rows s_k [num_params], which superpose on the air; amplitudes:
    [m]; noise: z [num_params]; divisor: sqrt(rho) times the samples of the active. The sum costs nothing: the air adds."""
    return w + (amplitudes @ signals + noise) * (largest_level / divisor)


def collect(
    node: Node, w: Value, k: int, clients: Sequence[int], guard_s: float, deadline_s: float | None
) -> Generator[Any, Any, Value | None]:
    """The mean of the clients' models after round k, whose model they have been sent; None where nobody was heard. guard_s: from
    the server's word to the common start. `yield from` it."""
    ready = yield Receive(clients, "ready", k, timeout_s=deadline_s)
    if not ready.messages:
        return None
    v = yield Compute(largest, (ready.data,))
    start_s = (yield Observe("time")) + guard_s
    yield Send(ready.senders, "model", 2 * k + 1, Payload((v, start_s), 2 * NUMBER_BITS), expires_s=deadline_s)
    heard = yield Receive(ready.senders, "update", k, timeout_s=deadline_s)
    active = [message for message in heard.messages if message.coefficient]
    if not active:
        return None
    amplitudes = [message.coefficient or 0.0 for message in active]
    divisor = sum(a * node.samples_of[message.sender] for a, message in zip(amplitudes, active, strict=True))
    signals = [message.data for message in active]
    noise = node.tensor(0.0) if heard.noise is None else heard.noise  # a bench without a radio has none
    args = (w, signals, node.tensor(amplitudes), noise, v, node.tensor(divisor))
    return (yield Compute(add_heard, args))


def announce(node: Node, difference: Value, k: int, deadline_s: float | None) -> Generator[Any, Any, None]:
    """A client tells how strong its update of round k would be. `yield from` it."""
    own = yield Compute(level, (difference, node.tensor(node.num_samples)))
    yield Send([SERVER], "ready", k, Payload(own, NUMBER_BITS), expires_s=deadline_s)


def speak(node: Node, difference: Value, go: Message, snr_db: float) -> Generator[Any, Any, None]:
    """A client sends its update at the same time as all others. `yield from` it."""
    v, start_s = go.data
    signal = yield Compute(normalized, (difference, node.tensor(node.num_samples), v))
    payload = Float32().payload(signal, node)
    early_s = start_s - (yield Observe("time"))
    if early_s < 0.0:
        snr_db = math.inf  # nobody reaches that
    yield Sleep(early_s)
    yield Send([SERVER], "update", go.round // 2, payload, analog=True, analog_snr_db=snr_db)
