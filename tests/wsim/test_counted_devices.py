"""Of whom accuracies are where devices leave, come back and fail: against models taken out of the run and scored one by one."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.contract.worlds import calm
from tests.wsim.test_evaluation import ALL, held, played, scored, series
from wsim.engine import Run
from wsim.errors import ScenarioError
from wsim.record import RunRecord
from wsim.report import summary_dict, summary_table

GONE = """
0 0.5 leave
1 0.4 leave
1 0.6 join
2 0.7 leave
2 9.0 join
"""
"""Device 0 fails, 1 is away for a while, 2 is away at the end of the run."""
COUNTED = {"alive": (1, 2, 3, 4, 5), "present": (1, 3, 4, 5), "all": (0, 1, 2, 3, 4, 5)}
TESTS = ("data.local_test_fraction=0.25", 'evaluation.data=["global_test", "own_test"]')


def left(learner: str, whom: str, tmp_path: Path, *changes: str) -> tuple[Run, RunRecord]:
    file = tmp_path / "churn.csv"
    file.write_text(GONE)
    churn = f'devices.0.churn={{kind="schedule", file="{file}"}}'
    limits = ("stop={simulated_s=1.0}", "evaluation.every_s=0.25", f"evaluation.counted_devices={whom}")
    return played(calm(learner, churn, *limits, *changes))


def shown(record: RunRecord) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(summary_table(record))
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("whom", COUNTED)
def test_mean_worst_and_mean_model_are_of_the_devices_that_count(whom: str, tmp_path: Path) -> None:
    run, record = left("dpsgd", whom, tmp_path, *ALL)
    assert record.eval_time_s.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert record.eval_devices_present.tolist() == [6, 4, 4, 4]
    assert record.eval_devices_failed.tolist() == [0, 1, 1, 1]
    counted = list(COUNTED[whom])
    models = held(run)
    assert len(models) == 6
    by_hand = np.array([scored(run, models[device], None)[0] for device in counted])
    number = series(record, "device", "global_test")
    np.testing.assert_allclose(record.series_accuracy_by_device[number, -1, counted], by_hand)
    assert np.isnan(record.series_accuracy_by_device[number, -1]).sum() == 6 - len(counted)
    levels = dict(zip(record.levels, record.series_accuracy_by_level[number, -1], strict=True))
    assert levels["mean"] == pytest.approx(by_hand.mean())
    assert levels["worst"] == by_hand.min()
    parameters = np.stack([run.learning.executor.read(models[device]).numpy() for device in counted])
    mean = parameters.mean(axis=0)
    distance = np.sqrt(((parameters - mean) ** 2).sum(axis=1).mean())
    assert record.series_disagreement[number, -1] == pytest.approx(distance, rel=1e-9)
    one = series(record, "mean_model", "global_test")
    expected = scored(run, run.learning.executor.read(models[0]).new_tensor(mean), None)[0]
    assert record.series_accuracy[one, -1] == pytest.approx(expected)


@pytest.mark.parametrize("whom", COUNTED)
def test_the_servers_model_is_tested_on_the_samples_of_the_devices_that_count(whom: str, tmp_path: Path) -> None:
    _, record = left("fedavg", whom, tmp_path, *TESTS)
    accuracies = record.series_accuracy_by_device[series(record, "server", "own_test"), -1]
    assert np.flatnonzero(~np.isnan(accuracies)).tolist() == list(COUNTED[whom])
    assert np.isfinite(record.accuracy).all()  # the server is there


def test_the_table_says_of_whom_the_accuracies_are(tmp_path: Path) -> None:
    _, record = left("dpsgd", "alive", tmp_path)
    assert "4 present, 1 away, 1 failed at the end · accuracies of devices: who has not failed" in shown(record)
    summary = summary_dict(record)
    assert (summary["devices_present"], summary["devices_failed"]) == (4, 1)


def test_where_nobody_is_left_the_last_accuracy_is_named_with_its_time() -> None:
    failing = "devices.0.churn={kind='failure', mean_life_s=0.2}"
    _, record = played(calm("dpsgd", failing, "evaluation.every_s=0.02", "stop.rounds=1000"))
    assert record.stop_reason == "nobody_left"
    assert np.isnan(record.accuracy[-1])
    assert record.eval_devices_failed[-1] == 6
    last = np.flatnonzero(np.isfinite(record.accuracy))[-1]
    assert f"nobody counts at the end; {record.accuracy[last]:.4f} at " in shown(record)


def test_another_word_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ScenarioError, match="counted_devices.*alive"):
        calm("dpsgd", "evaluation.counted_devices=living")
