"""Semantic distributed learning by class second moments (MCR2 consensus), Algorithm II: for devices that lack classes.

Tian, Ben Issaid and Bennis (arXiv 2604.18237), see `semantic_mcr2` for Algorithm I, the notation and the sources. Devices are
grouped into clusters that each hold all classes (`clusters`). In round t, at device i, with C_i its classes:

    V_i^k <- second moments of the features of all own samples, k in C_i
    send V_i^k to all who hold k, wait for theirs                                                  whatever their cluster
    Y_i^k <- Y_i^k + alpha sum_j (V_i^k - V_j^k)                                                   j: holders of k
    in every cluster, one member after the other (Gauss-Seidel), with W, c of the other members:
        x_i <- local training on the coding rates of the whole cluster, and the consensus as in Algorithm I     (`block_rate`)
        send V_i^k and c_i^k = n_i^k / S_i to the cluster mates, who make W_i^k = c_i^k V_i^k of it

A device in several clusters (a replica, S_i > 1) trains its one encoder once in each. Clusters take their turns side by side; where they
share a device, in their order.

Sends, with float32 and matrix = "full": to every device with a common class 4 #(C_i and C_j) d^2 bytes a round, after every turn to the mates
4 #C_i (d^2 + 1), and those once before the first turn of all. Messages: `cluster_links`.

The reference code's: the statistics and their order, the objective, constants (penalty 2, dual_step 0.1, 3 local epochs a turn, batches of
3000, Adam at 0.01 with weight decay 1e-5), clusters given by hand. Reconstructed: rules that choose clusters, what S_i is, which device is the
replica. Ours: all about messages that are late, lost or quantized, devices that come and go, and factor n_i / |B| (counts =
"rescale"). The code lets all holders of a class talk, whatever the graph; here they are those among them that are neighbors, and cluster
mates have to be: "complete" is the code's.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from learners.fields import check_choice, check_number
from learners.protocol import Measure, Node, Program, Report
from learners.quantities import Count, CountOrZero, PositiveOrZero, Seconds
from learners.semantic.block_rate import BlockRate
from learners.semantic.cluster_links import ClusterLinks
from learners.semantic.clusters import ClusterRule, Turns, clusters_of, held_classes, shown, turns_of
from learners.semantic.coding_rate import rate_of
from learners.semantic.consensus import PenalizedRate
from learners.semantic.moment_links import MomentLinks
from learners.semantic.semantic_mcr2 import SemanticMcr2

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class SemanticMcr2Clusters(SemanticMcr2):
    """Keys as of `SemanticMcr2`; 3 passes a turn if neither local_steps nor local_epochs is given. clusters: "greedy",
    "enumeration" (for few devices), or a list of lists of devices, which take turns in this order, such as [[0, 1], [2, 3]]. counts: "rescale" or "as_coded", see
    `block_rate`. turn_deadline_s: of a turn, from the one before (deadline_s)."""

    clusters: ClusterRule | tuple[tuple[CountOrZero, ...], ...] = "greedy"
    counts: Literal["rescale", "as_coded"] = "rescale"
    turn_deadline_s: Seconds | None = None
    penalty: PositiveOrZero = 2.0
    batch_size: Count = 3000

    fixed_graph: ClassVar[bool] = True
    leaves_out_rounds: ClassVar[bool] = False
    default_local_epochs: ClassVar[int] = 3
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {"missed_turns": ("of cluster mates",)}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("counts", self.counts, ("rescale", "as_coded"))
        check_number("turn_deadline_s", self.turn_deadline_s, optional=True)
        if self.turn_deadline_s is not None and self.deadline_s is None:
            raise ValueError(f"turn_deadline_s = {self.turn_deadline_s}: only with deadline_s, of an exchange")
        if self.class_shares != "own":
            raise ValueError(
                f"class_shares = {self.class_shares!r}: clusters count the samples of all their members anyway; leave this out"
            )
        if self.projection == "none" and not getattr(self.codec, "lossless", False):
            raise ValueError(
                'projection = "none": rounded matrices may have negative eigenvalues, and the logarithms of determinants none; "psd_trace1", '
                "or a lossless codec"
            )
        object.__setattr__(self, "clusters", _checked(self.clusters))

    def check_parts(self, class_counts: np.ndarray) -> None:
        """Raise ValueError also where no cluster can cover all classes, or a given one does not."""
        self.turns(class_counts)
        super().check_parts(class_counts)
        object.__setattr__(self, "_class_counts", class_counts)  # for the graph, which is known later

    def check_graph(self, graph: nx.Graph | None) -> None:
        """ValueError unless all cluster mates are neighbors. graph: after `check_parts`."""
        counts = getattr(self, "_class_counts", None)
        if graph is None or counts is None:
            return
        turns = self.turns(counts)
        for device in range(len(counts)):
            for mate in turns.mates(device):
                if not graph.has_edge(device, mate):
                    raise ValueError(
                        f"clusters = {shown(self.clusters)}: devices {device} and {mate} are in one cluster and no neighbors in the "
                        'graph; another list, or topology.kind = "complete"'
                    )

    def turns(self, class_counts: np.ndarray) -> Turns:
        """Of a round. class_counts: int [num_devices, num_classes]."""
        return turns_of(clusters_of(self.clusters, held_classes(class_counts), class_counts.shape[1]))

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        turns = self.turns(np.stack([node.class_counts_of(i) for i in range(node.num_devices)]))
        links = self.links(node, turns)
        objective = BlockRate(PenalizedRate(rate_of(node.task), self.penalty), self.counts == "rescale")
        sizes = node.tensor(node.num_samples), node.tensor(turns.num_clusters(node.id))
        y = links.zeros  # [num_classes, d, d]
        sums = yield from links.sums(x)
        while self.goes_on(k):
            yield from links.exchange(k, sums)
            y, *anchor = yield from links.consensus(y, self.dual_step)
            seen = -1
            for turn in turns.of(node.id):
                if turns.owners[turn] == node.id:
                    others = yield from links.of_others(turn)
                    batches = self.batches(node)
                    x = yield from self.train(node, x, k, batches, objective, *others, *sizes, y, *anchor)
                    sums = yield from links.sums(x)  # also V of the next round
                    yield from links.tell(k, turn, sums)
                else:
                    yield from links.listen(k, turn, seen)
                seen = turn
            yield from self.finish(node, x, k)
            yield Measure("missed_turns", node.tensor([links.missed_turns]))
            yield Report("model", x, round=k)
            k = links.next_round(self.num_rounds)
        if links.unheard:
            warnings.warn(
                "algorithm semantic_mcr2_clusters: no statistics of a cluster mate ever came to some device, which trained without its classes; "
                "was the mate never there, or are deadline_s and turn_deadline_s too short?",
                stacklevel=2,
            )

    def links(self, node: Node, turns: Turns) -> ClusterLinks:
        def moments(project: bool) -> MomentLinks:
            return MomentLinks(node, self.codec, self.matrix, project, self.size(node))

        shares, statistics = moments(self.projection == "psd_trace1"), moments(True)
        broadcast = self.exchange == "broadcast"
        return ClusterLinks(node, turns, shares, statistics, broadcast, self.deadline_s, self.turn_deadline_s)


def _checked(clusters: Any) -> Any:
    """A rule, or lists as tuples; ValueError for others."""
    if isinstance(clusters, str):
        check_choice("clusters", clusters, ("greedy", "enumeration"))
        return clusters
    if not isinstance(clusters, Sequence) or not all(isinstance(members, Sequence) and members for members in clusters):
        raise ValueError(
            f'clusters = {clusters!r}: "greedy", "enumeration", or lists of devices, such as [[0, 1], [2, 3]]'
        )
    lists = tuple(tuple(int(device) for device in members) for members in clusters)
    for members in lists:
        if len(set(members)) < len(members):
            raise ValueError(f"clusters = {shown(lists)}: {list(members)} names a device twice")
    return lists
