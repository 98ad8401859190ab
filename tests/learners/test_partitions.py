"""Partitions: exact cover and the skew each one claims."""

from typing import Any

import numpy as np
import pytest

from learners.data.class_lists import class_lists
from learners.data.equal_dirichlet import equal_dirichlet
from learners.data.partitions import classes_per_device, dirichlet, iid, quantity_skew

LABELS = np.random.default_rng(0).permutation(np.arange(1437) % 10)
KINDS: list[tuple[Any, dict[str, Any]]] = [
    (iid, {}),
    (iid, {"stratified": True}),
    (dirichlet, {"alpha": 0.05}),
    (dirichlet, {"alpha": 1e6}),
    (classes_per_device, {"classes": 2}),
    (classes_per_device, {"classes": 2, "share_spread": 0.9}),
    (quantity_skew, {"exponent": 1.0}),
    (equal_dirichlet, {"alpha": 0.1}),
    (equal_dirichlet, {"alpha": 1e-4}),
]
ONE_WAY = ("share_spread", "stratified")
DRAWING = [kind for kind in KINDS if kind[0] is not equal_dirichlet and not any(key in kind[1] for key in ONE_WAY)]


def class_counts(parts: list[np.ndarray], labels: np.ndarray = LABELS) -> np.ndarray:
    """[num_devices, num_classes]"""
    return np.array([np.bincount(labels[part], minlength=labels.max() + 1) for part in parts])


@pytest.mark.parametrize(("partition", "options"), KINDS)
@pytest.mark.parametrize("num_devices", [7, 100])
def test_every_sample_goes_to_exactly_one_device(partition: Any, options: dict[str, Any], num_devices: int) -> None:
    parts = partition(LABELS, num_devices, np.random.default_rng(1), **options)
    assert len(parts) == num_devices
    assert min(map(len, parts)) >= 1
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(len(LABELS)))
    assert all(part.dtype == np.int64 for part in parts)


@pytest.mark.parametrize(("partition", "options"), DRAWING)
def test_samples_per_device_serves_more_devices_than_samples(partition: Any, options: dict[str, Any]) -> None:
    parts = partition(LABELS, 2000, np.random.default_rng(1), samples_per_device=20, **options)
    assert sum(map(len, parts)) == 2000 * 20
    if partition is not quantity_skew:
        assert {len(part) for part in parts} == {20}


@pytest.mark.parametrize(("partition", "options"), KINDS)
def test_one_generator_state_gives_one_partition(partition: Any, options: dict[str, Any]) -> None:
    first, second = (partition(LABELS, 9, np.random.default_rng(3), **options) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_iid_sizes_differ_by_one_at_most() -> None:
    sizes = {len(part) for part in iid(LABELS, 100, np.random.default_rng(1))}
    assert sizes == {14, 15}


def test_stratified_shares_of_every_class_differ_by_one_at_most() -> None:
    labels = LABELS[LABELS != 4][:1000]  # a class without samples
    parts = iid(labels, 7, np.random.default_rng(1), stratified=True)
    counts = class_counts(parts, labels)
    assert (np.ptp(counts, axis=0) <= 1).all()
    assert np.ptp(counts.sum(axis=1)) <= 1
    plain = class_counts(iid(labels, 7, np.random.default_rng(1)), labels)
    assert (np.ptp(plain, axis=0) > 1).any()


LISTS = ((1, 2, 3), (3, 0), (7, 3))


def test_class_lists_deal_a_class_equally_to_its_holders() -> None:
    parts = class_lists(LABELS, 3, np.random.default_rng(1), classes_of_device=LISTS)
    counts = class_counts(parts)
    assert [tuple(np.flatnonzero(row)) for row in counts] == [tuple(sorted(classes)) for classes in LISTS]
    whole = np.bincount(LABELS)
    assert sorted(counts[:, 3]) == [whole[3] // 3 + (i >= 3 - whole[3] % 3) for i in range(3)]
    assert all(counts[:, k].sum() == whole[k] for k in (0, 1, 2, 3, 7))
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything)  # nobody shares one


def test_class_lists_deal_so_many_samples_of_a_class() -> None:
    parts = class_lists(LABELS, 3, np.random.default_rng(1), classes_of_device=LISTS, samples_per_class=20)
    assert {int(n) for n in class_counts(parts).ravel()} == {0, 20}
    everything = np.concatenate(parts)
    assert len(np.unique(everything)) == len(everything)


def test_dirichlet_with_large_alpha_gives_everyone_the_mix_of_the_whole_set() -> None:
    counts = class_counts(dirichlet(LABELS, 20, np.random.default_rng(1), alpha=1e7))
    assert np.abs(counts - np.bincount(LABELS) / 20).max() <= 1.1  # shares deviate by 1e-3, the rest is rounding


def test_dirichlet_with_small_alpha_gives_each_class_to_one_device() -> None:
    """As alpha -> 0 a class goes to one winner whole; only samples that repair empty devices leave it."""
    counts = class_counts(dirichlet(LABELS, 8, np.random.default_rng(1), alpha=1e-4))
    assert (counts.max(axis=0) >= np.bincount(LABELS) - 8).all()


def test_dirichlet_shares_have_the_stated_variance() -> None:
    """A share of Dirichlet(a) over N devices has variance (1/N) (1 - 1/N) / (N a + 1). 300 partitions of 10 classes are
    3,000 independent draws; tolerance 4 standard errors of the mean square, estimated from the same draws."""
    labels = np.repeat(np.arange(10), 1000)
    rng = np.random.default_rng(2)
    fractions = []
    for _ in range(300):
        parts = dirichlet(labels, 4, rng, alpha=0.5)
        fractions.append([np.bincount(labels[part], minlength=10) / 1000 for part in parts])
    squares = (
        np.array(fractions)[:, 0].ravel() - 0.25
    ) ** 2  # one device: its shares of different classes are independent
    standard_error = squares.std() / np.sqrt(len(squares))
    assert squares.mean() == pytest.approx(0.25 * 0.75 / (4 * 0.5 + 1), abs=4 * standard_error)


def test_dirichlet_draws_have_the_stated_class_mix() -> None:
    """samples_per_device: a device's share of a class with p = 1/10 has variance p (1 - p) b, b = 1 / (10 a + 1), between
    the mixes and p (1 - p) (1 - b) / n from the draw of n samples. 4,000 devices; tolerance 4 standard errors."""
    labels = np.repeat(np.arange(10), 200)
    parts = dirichlet(labels, 4000, np.random.default_rng(2), alpha=0.3, samples_per_device=50)
    shares = np.array([np.bincount(labels[part], minlength=10) for part in parts]) / 50
    between = 1 / (10 * 0.3 + 1)
    expected = 0.1 * 0.9 * (between + (1 - between) / 50)
    squares = (shares[:, 0] - 0.1) ** 2
    assert squares.mean() == pytest.approx(expected, abs=4 * squares.std() / np.sqrt(len(squares)))


def test_dirichlet_keeps_the_minimum() -> None:
    parts = dirichlet(LABELS, 100, np.random.default_rng(1), alpha=0.01, min_samples=10)
    assert min(map(len, parts)) >= 10


@pytest.mark.parametrize("num_devices", [1, 10, 16, 32])
def test_equal_dirichlet_has_equal_sizes_and_few_classes(num_devices: int) -> None:
    """At alpha = 0.01 a share is nearly one class, or a few small remainders of them: with classes as large as a share of 10 devices
    the most frequent one makes more than half of nearly all shares; at alpha = 1000 it has the mix of the whole set."""
    counts = class_counts(equal_dirichlet(LABELS, num_devices, np.random.default_rng(1), alpha=0.01))
    assert counts.sum(axis=1).max() - counts.sum(axis=1).min() <= 1
    if num_devices > 1:
        assert np.median(counts.max(axis=1) / counts.sum(axis=1)) > 0.5
    even = class_counts(equal_dirichlet(LABELS, num_devices, np.random.default_rng(1), alpha=1e6))
    assert (
        np.abs(even - even.sum() / num_devices / 10).max() < 5
    )  # a block of 898 samples has each class 90 times within a few, and each share is cut to one sample


@pytest.mark.parametrize("classes", [1, 2, 5, 10])
def test_classes_per_device_holds_exactly_that_many(classes: int) -> None:
    counts = class_counts(classes_per_device(LABELS, 30, np.random.default_rng(1), classes=classes))
    assert ((counts > 0).sum(axis=1) == classes).all()
    holders = (counts > 0).sum(axis=0)
    assert holders.max() - holders.min() <= 1
    for column in counts.T:
        assert column[column > 0].max() - column[column > 0].min() <= 1


@pytest.mark.parametrize(("num_classes", "classes", "owners"), [(10, 2, 20), (100, 10, 10)])
def test_shares_spread_as_in_the_comparison_of_fedmrl(num_classes: int, classes: int, owners: int) -> None:
    """40,000 labels, 100 clients, shares of a class from U(0.4, 0.6): 327 to 471 and 342 to 428 samples a client in one draw of
    the authors' code. Shares have a relative standard deviation of (0.2 / sqrt(3)) sqrt(1 - 1 / owners), and a client has `classes`
    pieces of 400 / classes samples; the standard error of a standard deviation of 100 is a fourteenth of it."""
    labels = np.repeat(np.arange(num_classes), 40_000 // num_classes)
    parts = classes_per_device(labels, 100, np.random.default_rng(1), classes=classes, share_spread=0.2)
    sizes = np.array([len(part) for part in parts])
    deviation = 400 / np.sqrt(classes) * 0.2 / np.sqrt(3) * np.sqrt(1 - 1 / owners)
    assert sizes.mean() == 400
    assert sizes.std() == pytest.approx(deviation, rel=4 / np.sqrt(200))
    assert (class_counts(parts, labels) > 0).sum(axis=1).tolist() == [classes] * 100


def test_quantity_skew_follows_the_power_law() -> None:
    sizes = np.sort([len(part) for part in quantity_skew(LABELS, 20, np.random.default_rng(1), exponent=1.0)])[::-1]
    shares = 1 / np.arange(1, 21)
    assert np.abs(sizes - (1 + 1417 * shares / shares.sum())).max() <= 1


def test_quantity_skew_without_exponent_is_equal() -> None:
    assert {len(part) for part in quantity_skew(LABELS, 20, np.random.default_rng(1), exponent=0.0)} == {71, 72}


@pytest.mark.parametrize(
    ("partition", "options", "message"),
    [
        (iid, {"num_devices": 0}, "num_devices = 0"),
        (iid, {"num_devices": 1438}, "cannot share 1437 training samples"),
        (iid, {"samples_per_device": 0}, "samples_per_device = 0"),
        (dirichlet, {"alpha": 0.0}, "alpha = 0.0"),
        (dirichlet, {"alpha": float("nan")}, "alpha = nan"),
        (dirichlet, {"alpha": 1.0, "min_samples": 144}, "min_samples = 144"),
        (equal_dirichlet, {"alpha": 0.0}, "alpha = 0.0"),
        (equal_dirichlet, {"alpha": 1.0, "num_devices": 1438}, "cannot share 1437"),
        (classes_per_device, {"classes": 11}, "classes = 11"),
        (classes_per_device, {"classes": 1, "num_devices": 9}, "cannot hold all 10 classes"),
        (classes_per_device, {"classes": 10, "num_devices": 200}, "samples for 200 devices"),
        (classes_per_device, {"classes": 3, "samples_per_device": 2}, "samples_per_device = 2"),
        (classes_per_device, {"classes": 3, "share_spread": 1.0}, "share_spread = 1.0"),
        (classes_per_device, {"classes": 3, "share_spread": 0.2, "samples_per_device": 9}, "share_spread = 0.2: only"),
        (quantity_skew, {"exponent": -1.0}, "exponent = -1.0"),
        (iid, {"stratified": True, "samples_per_device": 9}, "stratified = True: .* only without samples_per_device"),
        (class_lists, {"classes_of_device": LISTS}, "one list for each of the 10 devices, and there are 3"),
        (
            class_lists,
            {"classes_of_device": LISTS, "num_devices": 3, "samples_per_class": 50},
            "class 3 has 14. training",
        ),
        (class_lists, {"classes_of_device": ((1, 10), (2,)), "num_devices": 2}, "device 0 has class 10; 0 to 9"),
        (
            class_lists,
            {"classes_of_device": ((1,), (2, 2)), "num_devices": 2},
            "classes_of_device = .* device 1 has a class twice",
        ),
        (class_lists, {"classes_of_device": ((1,), ()), "num_devices": 2}, "device 1 has no class; one at least"),
    ],
)
def test_a_bad_argument_is_named(partition: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        partition(LABELS, rng=np.random.default_rng(1), **({"num_devices": 10} | options))


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        iid(np.array([], dtype=int), 2, np.random.default_rng(1))
