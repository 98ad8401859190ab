"""A device's own view of the links around it, made of the rows that have reached it.

Object 0 is its own pair, the others are the pairs whose receivers' rows have arrived. A pair whose row is missing is left out, and what
a row does not name counts as nothing: H_kj = 0. Without the row of the own receiver there is no view.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from learners.control.link_messages import Row


def ego_gains(receiver: int, rows: Mapping[int, Row], max_scale: int) -> np.ndarray | None:
    """SNRs [K, K] at full power, row = receiver, column = sender, the pair of `receiver` first; None without its row.

    rows: by receiver. Of more than `max_scale` pairs those that disturb the own one, or that it disturbs, the most. A sender that two rows
    call their own, as where pairs have just changed, counts for the first: the own one, then the lower receiver id.
    """
    if receiver not in rows:
        return None
    own = rows[receiver].senders[0]
    others: dict[int, Row] = {}
    for _, row in sorted(rows.items()):
        if row.senders[0] != own and row.senders[0] not in others:
            others[row.senders[0]] = row

    def coupling(sender: int) -> float:
        return max(rows[receiver].snr_of(sender), others[sender].snr_of(own))

    strongest = sorted(others, key=coupling, reverse=True)[: max_scale - 1]
    senders = [own, *strongest]
    of_objects = [rows[receiver], *(others[sender] for sender in strongest)]
    return np.array([[row.snr_of(sender) for sender in senders] for row in of_objects])
