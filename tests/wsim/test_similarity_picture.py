"""Features kept at the end of a run, and the picture of their cosines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from learners.representation.sample import shown_samples
from tests.contract.worlds import calm
from tests.wsim.records import make_record
from tests.wsim.test_representations import ENCODER, Odd, Twin, played, unit
from wsim import results, similarity_picture
from wsim.cli import app
from wsim.engine import simulate
from wsim.errors import ResultError
from wsim.similarity_picture import draw_similarity, plot_similarity

KEPT = 'evaluation.metrics=["similarity"]'
NONE = {
    "similarity_features": np.empty((0, 0)),
    "similarity_label": np.empty(0, dtype=np.int64),
    "similarity_device": np.empty(0, dtype=np.int64),
}


def test_kept_are_features_of_test_samples_by_class_and_device(tmp_path: Path) -> None:
    run, record = played(calm("dpsgd", ENCODER, KEPT, "stop.rounds=1"))
    twin = Twin(run)
    found = record.similarity_features, record.similarity_label, record.similarity_device
    expected = []
    for k in range(4):
        rows = np.flatnonzero(twin.test[1] == k)[:20]
        for device, x in enumerate(twin.xs):
            expected += [(z, k, device) for z in unit(x, twin.test[0][rows])]
    for values, column in zip(found, zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(values, np.stack(column), atol=1e-6)
    assert record.measure_name == []
    results.write(record, tmp_path / "made.h5")
    back = results.read(tmp_path / "made.h5")
    np.testing.assert_array_equal(back.similarity_features, record.similarity_features)
    np.testing.assert_array_equal(back.similarity_device, record.similarity_device)


def test_of_many_devices_few_samples_are_kept() -> None:
    labels = np.tile(np.arange(10), 50)
    assert np.bincount(labels[shown_samples(labels, 10, 10)]).tolist() == [20] * 10
    assert np.bincount(labels[shown_samples(labels, 10, 100)]).tolist() == [4] * 10
    assert np.bincount(labels[shown_samples(labels, 10, 9000)]).tolist() == [1] * 10


def test_neither_estimates_nor_diverged_models_are_kept() -> None:
    assert not len(simulate(calm("dpsgd", KEPT), executor="null").similarity_label)
    assert not len(simulate(calm("local_only", ENCODER, KEPT), learner=Odd).similarity_label)


def test_the_picture_shows_absolute_cosines_and_their_means(monkeypatch: pytest.MonkeyPatch) -> None:
    features = np.array([[1.0, 0.0], [0.6, 0.8], [-0.6, -0.8], [0.0, 1.0]])
    labels, devices = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0])
    record = make_record(similarity_features=features, similarity_label=labels, similarity_device=devices)
    axis = draw_similarity(record).axes[0]
    drawn = [[1, 0.6, 0.6, 0], [0.6, 1, 1, 0.8], [0.6, 1, 1, 0.8], [0, 0.8, 0.8, 1]]
    np.testing.assert_allclose(axis.images[0].get_array(), drawn, atol=1e-12)  # type: ignore[arg-type]
    means = "one class and device 0.600 \u00b7 one class, two devices 0.800 \u00b7 two classes 0.533"
    assert axis.get_xlabel().endswith(means)
    assert [list(line.get_ydata()) for line in axis.lines[:1]] == [[2.5, 2.5]]
    monkeypatch.setattr(similarity_picture, "MOST_ROWS", 2)
    assert draw_similarity(record).axes[0].images[0].get_array().shape == (2, 2)  # type: ignore[union-attr]


def test_on_the_command_line(tmp_path: Path) -> None:
    results.write(make_record(), tmp_path / "made.h5")
    drawn = CliRunner().invoke(app, ["plot", str(tmp_path / "made.h5"), "--similarity"])
    assert drawn.exit_code == 0
    assert (tmp_path / "made-similarity.png").read_bytes().startswith(b"\x89PNG")


def test_a_result_without_features_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match='quickstart: holds no features: run it with "similarity"') as error:
        plot_similarity(make_record(**NONE), tmp_path / "none.png")
    assert "\n" not in str(error.value)
