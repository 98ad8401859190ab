"""Data sets and their splits."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm

from learners.data.dataset import Dataset, stratified_split
from learners.data.digits import _images, digits
from learners.data.gaussian_mixture import gaussian_mixture


def test_digits_are_scaled_and_split_by_class() -> None:
    data = digits(np.random.default_rng(1))
    assert data.input_shape == (1, 8, 8)
    assert len(data.train_labels) + len(data.test_labels) == 1797
    assert data.train_inputs.min() == 0
    assert data.train_inputs.max() == 1
    for label in range(10):
        num_train, num_test = (data.train_labels == label).sum(), (data.test_labels == label).sum()
        assert abs(num_test - 0.2 * (num_train + num_test)) <= 0.5


def test_digits_are_those_that_scikit_learn_loads() -> None:
    from sklearn.datasets import load_digits

    (images, labels), theirs = _images(), load_digits()
    assert np.array_equal(images[:, 0], theirs.images / 16.0)
    assert np.array_equal(labels, theirs.target)


def test_digits_come_without_scikit_learn() -> None:
    """Its import takes as long as a short run."""
    code = "import sys, numpy; from learners.data.digits import digits; digits(numpy.random.default_rng(1))"
    done = subprocess.run([sys.executable, "-c", f"{code}; sys.exit('sklearn' in sys.modules)"])
    assert done.returncode == 0


def test_one_seed_gives_one_split() -> None:
    first, second, other = (digits(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first.train_inputs, second.train_inputs)
    assert not np.array_equal(first.train_inputs, other.train_inputs)


def test_split_covers_every_sample_once_and_keeps_one_of_each_class() -> None:
    labels = np.array([0] * 2 + [1] * 40)
    train, test = stratified_split(labels, 0.9, np.random.default_rng(1))
    assert sorted([*train, *test]) == list(range(42))
    assert set(labels[train]) == set(labels[test]) == {0, 1}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_split_refuses_a_fraction_outside_0_1(fraction: float) -> None:
    with pytest.raises(ValueError, match="test_fraction"):
        stratified_split(np.array([0, 0, 1, 1]), fraction, np.random.default_rng(1))


def test_split_refuses_a_class_with_one_sample() -> None:
    with pytest.raises(ValueError, match="class 1 has one sample"):
        stratified_split(np.array([0, 0, 1]), 0.5, np.random.default_rng(1))


def test_gaussian_mixture_separates_two_classes_as_theory_says() -> None:
    """Known means at distance d: error Q(d / 2), binomial standard error; tolerance 4 of them."""
    rng = np.random.default_rng(4)
    data = gaussian_mixture(rng, 0.5, num_classes=2, num_features=3, num_samples=40_000, separation=2.0)
    means = np.array([data.train_inputs[data.train_labels == c].mean(0) for c in (0, 1)])
    distances = np.linalg.norm(data.test_inputs[:, None] - means, axis=2)
    error = (distances.argmin(1) != data.test_labels).mean()
    expected = norm.sf(np.linalg.norm(means[0] - means[1]) / 2)
    assert error == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / len(data.test_labels)))
    assert np.linalg.norm(means, axis=1) == pytest.approx(np.sqrt(2), abs=4 * np.sqrt(3 / 10_000))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"num_classes": 1}, "num_classes"),
        ({"num_features": 0}, "num_features"),
        ({"num_samples": 19}, "num_samples"),
        ({"separation": float("inf")}, "separation"),
    ],
)
def test_gaussian_mixture_names_a_bad_argument(options: dict[str, float], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        gaussian_mixture(np.random.default_rng(1), **options)  # type: ignore[arg-type]


def test_dataset_refuses_labels_beyond_its_classes() -> None:
    inputs = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 1"):
        Dataset("wrong", inputs, np.array([0, 2]), inputs, np.array([0, 1]), 2)


def byte_images(**changes: object) -> dict[str, object]:
    inputs = np.zeros((2, 3, 4, 4), dtype=np.uint8)
    labels = np.array([0, 1])
    whole = dict(name="bytes", train_inputs=inputs, train_labels=labels, test_inputs=inputs, test_labels=labels)
    return whole | dict(num_classes=2, mean=np.full(3, 0.5), std=np.full(3, 0.25)) | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": None}, "need a mean and a std for 3 channels"),
        ({"std": np.ones(1)}, "need a mean and a std for 3 channels"),
        ({"std": np.array([0.5, 0.0, 0.5])}, "positive"),
        ({"mean": np.array([0.5, np.nan, 0.5])}, "finite"),
        ({"test_inputs": np.zeros((2, 3, 4, 4))}, "differ in type"),
        ({"train_inputs": np.zeros((2, 3, 4, 4)), "test_inputs": np.zeros((2, 3, 4, 4))}, "go with uint8"),
    ],
)
def test_dataset_refuses_bytes_whose_scale_is_not_known(changes: dict[str, object], message: str) -> None:
    Dataset(**byte_images())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        Dataset(**byte_images(**changes))  # type: ignore[arg-type]
