"""What every learner between devices sends in a round, counted: scalars, and to how many at once.

The table of the page "Learning between devices" says the same. Every message's bits are those of a real encoding (`test_loss`).
"""

from __future__ import annotations

from collections import Counter

import pytest

from tests.contract.recording import record
from tests.contract.test_survival import BETWEEN_DEVICES
from tests.contract.worlds import OF_LINKS, calm

N = 6
M = 8 * 8 + 8 + 8 * 4 + 4
C, F = 4, 8
EDGE = (3 * 2 + 1) * 8 + 3 * 8 + 1
MODEL = {(M, 2): N}
"""One broadcast of M scalars to both neighbors on the ring a device."""
TRAFFIC: dict[str, dict[tuple[int, int], float]] = {  # (scalars, receivers) -> transmissions of all devices in a round
    "dpsgd": MODEL,
    "qg_dsgdm": MODEL,
    "gut": MODEL,
    "d2": MODEL,
    "drt_diffusion": MODEL,
    "choco": MODEL,  # of as many scalars as the codec keeps
    "gradient_tracking": {(2 * M, 2): N},
    "momentum_tracking": {(2 * M, 2): N},
    "sgp": {(M + 1, 2): N},
    "ccl": {(M, 2): N, (C * F + C, 1): 2 * N},
    "ngc": {(M, 2): N, (M, 1): 2 * N},
    "semantic_mcr2": {(C * 12 * 13 // 2, 2): N},  # upper triangles of a matrix of 12 x 12 a class
    "compositional_mcr2": {(C * 12 * 2, 2): N},  # bases of 2 directions in 12 dimensions a class
    # two of the four classes a device: 4 devices share one with 3 others, 2 with 4; statistics once more than there are rounds
    "semantic_mcr2_clusters": {(2 * 78, 3): 4, (2 * 78, 4): 2, (2 * (78 + 1), 1): N * 6 / 5},
    "relay_sgd": {(M + 1, 1): 2 * (N - 1)},  # both ways along a chain
    "all_reduce": {(M // N + 1, 1): 2 * N * (N - 1)},
    "ad_psgd": {(M, 1): 2 * N},
    "gossip": {(M, 1): N},
    "local_only": {},
    # roles; rows of three receivers, of two or all three senders, as they hear of them on the ring; an edge network of 8 hidden numbers
    "closed_loop": {(1, 2): N, (1.5 * 2, 2): 2, (1.5 * 3, 2): 1, (EDGE, 2): N},
}


@pytest.mark.parametrize("learner", [*BETWEEN_DEVICES, *OF_LINKS])
def test_learner_sends_what_its_specification_says(learner: str) -> None:
    _, recording = record(calm(learner), "null")
    sends = [line for trace in recording.traces.values() for line in trace if line[0] == "send"]
    counted = Counter((num_bits / 32, len(to)) for _, to, _, _, num_bits, _ in sends)
    assert counted == {sent: 5 * number for sent, number in TRAFFIC[learner].items()}


def test_unicast_takes_a_transmission_for_each_neighbor() -> None:
    """The same messages; the ledger has each bit of a broadcast once."""
    runs = {
        exchange: record(calm("dpsgd", f"algorithm.exchange={exchange}"), "null")[0]
        for exchange in ("broadcast", "unicast")
    }
    assert runs["unicast"].messages_sent == runs["broadcast"].messages_sent == 5 * 2 * N
    assert runs["unicast"].payload_bits == 2 * runs["broadcast"].payload_bits == 5 * 2 * N * 32 * M
