"""Which clients a server invites where it does not take all: policies beside drawing them at random.

Yang, Liu, Quek and Poor, "Scheduling policies for federated learning in wireless networks", IEEE Trans. Commun. 68 (2020) (arXiv
1908.06287): random, round robin, proportional fair. Yang, Arafa, Quek and Poor, "Age-based scheduling policy for federated learning
in mobile edge networks", ICASSP 2020 (arXiv 1910.14648): age. Each takes K of the clients that are present:

    round_robin         the next K by number after the last that was invited, around
    best_channel        the K largest r_i
    proportional_fair   the K largest r_i / R_i,  R_i <- R_i + (r_i - R_i) / T          T: fairness_rounds
    age                 the K whose last update that arrived lies furthest back; who has never answered comes first

with r_i the rate of the link to client i when the round begins, which the server looks at (`Observe`, at the scenario's cost, one
client after the other), and R_i its mean over the rounds so far, that of the first round at first. Equal ones are drawn at random.
The papers have the signal-to-noise ratio in the place of the rate.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from math import inf
from typing import Any

from learners.protocol import Node, Observe

POLICIES = ("random", "round_robin", "best_channel", "proportional_fair", "age")


class Selection:
    """What a server remembers of its clients from round to round, and whom it takes."""

    def __init__(self, policy: str, fairness_rounds: int) -> None:
        self._policy = policy
        self._fairness_rounds = fairness_rounds
        self._last_invited = -1
        self._answered: dict[int, int] = {}  # client -> the last round in which its update arrived
        self._mean_rate: dict[int, float] = {}

    def choose(self, node: Node, num_clients: int) -> Generator[Observe, Any, list[int]]:
        """K = num_clients of those present, ascending; fewer are not there. `yield from` it."""
        if self._policy == "round_robin":
            around = sorted(node.devices, key=lambda client: (client <= self._last_invited, client))
            chosen = around[:num_clients]
            self._last_invited = chosen[-1]
            return sorted(chosen)
        if self._policy == "age":
            return largest(node, {client: -self._answered.get(client, -1) for client in node.devices}, num_clients)
        rates = {}
        for client in node.devices:
            rates[client] = yield Observe("rate", client)
        if self._policy == "best_channel":
            return largest(node, rates, num_clients)
        for client, rate in rates.items():
            mean = self._mean_rate.get(client, rate)
            self._mean_rate[client] = mean + (rate - mean) / self._fairness_rounds if rate < inf else rate
        means = self._mean_rate
        fair = {client: rate / means[client] if 0 < means[client] < inf else 1.0 for client, rate in rates.items()}
        return largest(node, fair, num_clients)

    def answered(self, clients: list[int], round: int) -> None:
        """Whose updates of a round arrived."""
        self._answered.update(dict.fromkeys(clients, round))


def largest(node: Node, scores: Mapping[int, float], number: int) -> list[int]:
    """The clients with the largest scores, ascending; equal ones are drawn from the node's own stream."""
    drawn = node.rng.random(len(scores)).tolist()
    order = sorted(zip(scores, drawn, strict=True), key=lambda pair: (-scores[pair[0]], pair[1]))
    return sorted(client for client, _ in order[:number])
