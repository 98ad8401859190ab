"""Which clusters the rules choose, what lists are refused, who takes turns."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from learners.compression.float16 import Float16
from learners.semantic.clusters import LARGEST_ENUMERATION, Held, Turns, clusters_of
from tests.learners.semantic.lists_runs import FIVE, FOUR, ONE_REPLICATED, learner


def held(*classes: tuple[int, ...]) -> Held:
    return tuple(map(frozenset, classes))


@pytest.mark.parametrize(
    ("lists", "greedy", "enumeration"),
    [
        (FOUR, ((0, 1), (2, 3)), ((0, 1), (2, 3))),
        # 0 opens; 4 adds four of six, 1 the two others; 2 opens, 3 adds four, and 0 the last two (as 1 would)
        (FIVE, ((0, 4, 1), (2, 3, 0)), ((0, 1, 4), (0, 2, 3))),
    ],
)
def test_rules_on_the_two_set_ups(lists: Held, greedy: object, enumeration: object) -> None:
    assert clusters_of("greedy", held(*lists), 10) == greedy
    assert clusters_of("enumeration", held(*lists), 10) == enumeration


def test_enumeration_has_fewer_replicas_than_the_greedy_rule() -> None:
    """The largest takes the first that has what it lacks, which leaves two that need that one again."""
    classes = held((0, 1), (1, 2, 3), (2, 3), (0,))
    assert clusters_of("greedy", classes, 4) == ((1, 0), (2, 3, 0))
    assert clusters_of("enumeration", classes, 4) == ((0, 2), (1, 3))


def test_a_device_that_holds_everything_is_a_cluster() -> None:
    assert clusters_of("greedy", held((0, 1), (0, 1), (1,)), 2) == ((0,), (1,), (2, 0))
    assert clusters_of("enumeration", held((0, 1), (0, 1), (1,)), 2) == ((0,), (1, 2))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("greedy", "clusters = greedy: no device holds classes 10, 11, so no cluster covers all 12 classes"),
        (((0, 1), (2, 3)), r"clusters = \[\[0, 1\], \[2, 3\]\]: no device holds classes 10, 11"),
    ],
)
def test_classes_that_nobody_holds(rule: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clusters_of(rule, held(*FOUR), 12)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["greedy", "enumeration", ((0, 1, 2),)])
def test_a_device_without_samples(rule: object) -> None:
    with pytest.raises(ValueError, match="device 2 holds no samples"):
        clusters_of(rule, held((0, 1), (2,), ()), 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("clusters", "message"),
    [
        (((0, 2), (1, 3)), r"in \[0, 2\] nobody holds classes 6, 8"),
        (((0, 1),), "device 2 is in none"),
        (((0, 1), (2, 4)), "there is no device 4; 0 to 3"),
        ((), "device 0 is in none"),
    ],
)
def test_lists_that_do_not_do(clusters: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clusters_of(clusters, held(*FOUR), 10)  # type: ignore[arg-type]


def test_enumeration_is_for_few() -> None:
    many = held(*[(0,)] * (LARGEST_ENUMERATION + 1))
    assert len(clusters_of("enumeration", many[1:], 1)) == LARGEST_ENUMERATION
    with pytest.raises(ValueError, match="for 8 devices at most, and there are 9"):
        clusters_of("enumeration", many, 1)


def test_turns_of_a_replica_and_of_its_mates() -> None:
    turns = Turns(ONE_REPLICATED)
    assert turns.owners == (0, 1, 4, 1, 2, 3)
    assert turns.others[1] == (0, 4)
    assert turns.others[3] == (2, 3)
    assert [turns.num_clusters(i) for i in range(5)] == [1, 2, 1, 1, 1]
    assert turns.mates(1) == (0, 2, 3, 4)
    assert turns.of(0) == [0, 1, 2, 3]  # both turns of device 1
    assert turns.of(2) == [1, 3, 4, 5]


def counts(*lists: tuple[int, ...]) -> np.ndarray:
    return np.array([[40 * (k in classes) for k in range(10)] for classes in lists])


def test_mates_are_neighbors() -> None:
    algorithm = learner(1, clusters="greedy")
    algorithm.check_graph(nx.cycle_graph(4))  # nothing is known yet
    algorithm.check_parts(counts(*FOUR))
    algorithm.check_graph(nx.complete_graph(4))
    algorithm.check_graph(nx.Graph([(0, 1), (1, 2), (2, 3)]))
    with pytest.raises(ValueError, match="devices 2 and 3 are in one cluster and no neighbors"):
        algorithm.check_graph(nx.Graph([(0, 1), (1, 2), (1, 3)]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clusters": "greed"}, "clusters = 'greed': one of"),
        ({"clusters": [[0, 1], [2, 2]]}, r"\[2, 2\] names a device twice"),
        ({"clusters": [[0, 1], []]}, "or lists of devices"),
        ({"counts": "scaled"}, "counts = 'scaled'"),
        ({"class_shares": "agreed"}, "class_shares = 'agreed': clusters count the samples of all their members anyway"),
        ({"turn_deadline_s": 1.0}, "turn_deadline_s = 1.0: only with deadline_s"),
    ],
)
def test_bad_keys(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learner(1, **options)


def test_rounded_matrices_are_projected() -> None:
    with pytest.raises(ValueError, match='projection = "none": rounded matrices'):
        learner(1, codec=Float16(), projection="none")
    assert learner(1, projection="none").projection == "none"
