"""Many results as tables and arrays, against the records that they were made of."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wsim.records import make_record
from wsim import open_results, results
from wsim.errors import ResultError, WsimError
from wsim.record import RunRecord
from wsim.result_columns import COLUMNS, PAIRS
from wsim.views import Results

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def records() -> list[RunRecord]:
    """Two runs of arms of a study, of different lengths and sizes, and one of a scenario as it stands."""
    return [
        make_record(overrides=['study.arm="FedAvg"', 'study.point={ "mac.kind" = "tdma" }'], by_group=True),
        make_record(
            num_evals=7,
            num_devices=5,
            server=False,
            seed=3,
            overrides=['study.arm="D-PSGD"', 'study.point={ "mac.kind" = "shared", "channel.bandwidth_hz" = 2e6 }'],
            targets=np.array([0.5, 0.8, 0.9]),
        ),
        make_record(seed=2, num_evals=60),
    ]


@pytest.fixture(scope="module")
def folder(records: list[RunRecord], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    for name, record in zip(("a", "deeper/b", "deeper/c"), records, strict=True):
        results.write(record, folder / f"{name}.h5")
    (folder / ".0123456789abcdef.tmp").write_bytes(b"left by a process that was killed")
    (folder / "table.csv").write_text("seed,accuracy\n")
    return folder


@pytest.fixture
def opened(folder: Path) -> Results:
    return open_results(folder)


# -- what is opened -----------------------------------------------------------------------------------------------------


def test_files_folders_and_patterns_give_each_result_once(folder: Path) -> None:
    a, b, c = folder / "a.h5", folder / "deeper" / "b.h5", folder / "deeper" / "c.h5"
    assert open_results(folder).files == (a, b, c)
    assert open_results(str(a)).files == (a,)
    assert open_results(f"{folder}/deeper/*.h5").files == (b, c)
    assert open_results(f"{folder}/**/[bc].h5").files == (b, c)
    assert open_results([c, folder, f"{folder}/*"]).files == (c, a, b)


def test_a_name_with_brackets_is_a_name_first(folder: Path, tmp_path: Path) -> None:
    results.write(make_record(num_evals=2), tmp_path / "run[1].h5")
    assert open_results(tmp_path / "run[1].h5").files == (tmp_path / "run[1].h5",)


@pytest.mark.parametrize("where", ["missing.h5", "nothing-*.h5", "empty"])
def test_where_there_is_no_result_one_line_says_so(where: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResultError, match=re.escape(where)) as error:
        open_results(tmp_path / where)
    assert "\n" not in str(error.value)
    with pytest.raises(ResultError, match="no result files are named"):
        open_results([])


def test_a_file_that_is_no_result_is_named(tmp_path: Path) -> None:
    results.write(make_record(num_evals=2), tmp_path / "a.h5")
    (tmp_path / "b.h5").write_text("nothing of ours")
    with pytest.raises(ResultError, match=r"b\.h5: is not an HDF5 file"):
        open_results(tmp_path)


def test_records_come_one_after_the_other(opened: Results, records: list[RunRecord]) -> None:
    assert len(opened) == 3
    assert [record.seed for record in opened] == [record.seed for record in records]
    assert opened.record(1).learner == "dpsgd"
    assert repr(opened) == "Results(3 runs; arm: 3, mac.kind: 3, channel.bandwidth_hz: 2, seed: 3)"


# -- tables -------------------------------------------------------------------------------------------------------------


def test_a_row_a_run(opened: Results, records: list[RunRecord]) -> None:
    runs = opened.runs
    assert list(runs.columns[:7]) == [
        "run", "scenario", "learner", "arm", "mac.kind", "channel.bandwidth_hz", "seed",
    ]  # fmt: skip
    assert list(runs.arm) == ["FedAvg", "D-PSGD", ""]
    assert list(runs["mac.kind"][:2]) == ["tdma", "shared"]
    assert runs["channel.bandwidth_hz"].isna().tolist() == [True, False, True]
    for row, record in zip(runs.itertuples(), records, strict=True):
        assert row.accuracy == record.accuracy[-1]
        assert row.test_loss == record.test_loss[-1]
        assert row.on_air_bits == record.on_air_bits
        assert row.energy_j == record.total_energy_j
        assert row.energy_transmit_j == record.energy_by_use()["transmit"]
        assert row.messages_sent == row.messages_delivered + row.messages_lost + record.messages_in_flight
    assert list(runs.measured) == ["server · global test", "mean, devices · global test", "server · global test"]
    assert list(runs.columns[-12:-9]) == ["time_s_to_0.5", "on_air_bits_to_0.5", "energy_j_to_0.5"]
    np.testing.assert_array_equal(runs["time_s_to_0.5"], [np.nan, 17.3, np.nan])
    np.testing.assert_array_equal(runs["energy_j_to_0.9"], [64.6, np.nan, 64.6])


def test_a_row_an_evaluation(opened: Results, records: list[RunRecord]) -> None:
    evaluations = opened.evaluations
    assert evaluations.groupby("run").size().tolist() == [60, 7, 60]
    for run, rows in evaluations.groupby("run"):
        record = records[run]
        for name, values in {
            "time_s": record.eval_time_s,
            "round": record.eval_round,
            "accuracy": record.accuracy,
            "accuracy_p10": record.accuracy_p10,
            "test_loss": record.test_loss,
            "on_air_bits": record.eval_on_air_bits,
            "energy_j": record.eval_energy_j.sum(axis=1),
            "devices_present": record.eval_devices_present,
            "devices_failed": record.eval_devices_failed,
        }.items():
            np.testing.assert_array_equal(rows[name], values, err_msg=name)
        assert set(rows.seed) == {record.seed}


def test_rows_of_series_groups_and_devices(opened: Results, records: list[RunRecord]) -> None:
    record = records[1]
    own = opened.series.query("run == 1 and subject == 'device' and data == 'own_test'")
    np.testing.assert_array_equal(own.accuracy, record.series_accuracy[2])
    np.testing.assert_array_equal(own.loss, record.series_loss[2])
    np.testing.assert_array_equal(own[record.levels], record.series_accuracy_by_level[2])
    slow = opened.groups.query("run == 1 and data == 'own_test' and group == 'slow walkers'")
    np.testing.assert_array_equal(slow.time_s, record.eval_time_s)
    np.testing.assert_array_equal(slow.worst, record.series_accuracy_by_group[2, :, 1, 1])
    third = opened.devices.query("run == 1 and data == 'own_test' and device == 2")
    np.testing.assert_array_equal(third.accuracy, record.series_accuracy_by_device[2, :, 2])
    np.testing.assert_array_equal(third.loss, record.series_loss_by_device[2, :, 2])
    assert set(third.group) == {"walkers"}
    assert len(opened.devices) == 3 * (60 * 20 + 7 * 5 + 60 * 20)


def test_rows_of_generalization_gaps(opened: Results, tmp_path: Path) -> None:
    assert opened.generalization_gaps.empty
    record = make_record(seed=5)
    record.series_data[record.series_data.index("own_test")] = "train"
    results.write(record, tmp_path / "gap.h5")
    rows = open_results(tmp_path / "gap.h5").generalization_gaps
    assert set(rows.subject) == {"device"}
    np.testing.assert_array_equal(rows.gap, record.series_accuracy[2] - record.series_accuracy[1])
    worst = record.series_accuracy_by_level[:, :, record.levels.index("worst")]
    np.testing.assert_array_equal(rows.worst, worst[2] - worst[1])
    np.testing.assert_array_equal(rows.time_s, record.eval_time_s)


def test_rows_of_what_devices_measured(opened: Results, records: list[RunRecord]) -> None:
    record = records[1]
    rows = opened.measures.query("run == 1 and measure == 'own_weight' and component == 'layer 1'")
    np.testing.assert_array_equal(rows.value.to_numpy().reshape(7, 5), record.measure_value[3])
    np.testing.assert_array_equal(rows.query("device == 2").time_s, record.eval_time_s)
    assert len(opened.measures) == 4 * (60 * 20 + 7 * 5 + 60 * 20)


# -- arrays -------------------------------------------------------------------------------------------------------------


def test_curves_of_all_runs_as_arrays_with_units(opened: Results, records: list[RunRecord]) -> None:
    curves = opened.dataset()
    assert dict(curves.sizes) == {"run": 3, "evaluation": 60}
    np.testing.assert_array_equal(curves.accuracy[1, :7], records[1].accuracy)
    assert np.isnan(curves.accuracy[1, 7:]).all()
    assert curves.energy_j.attrs["units"] == "J"
    assert curves.accuracy.where(curves.arm == "D-PSGD", drop=True).sizes["run"] == 1
    np.testing.assert_array_equal(curves.seed, [1, 3, 2])


def test_the_tree_holds_every_dataset_of_every_run(opened: Results, records: list[RunRecord]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = opened.tree()
    for column in COLUMNS:
        array = tree[column.path]
        assert array.dims == ("run", *column.dims), column.path
        assert array.attrs.get("units") == column.units
        for run, record in enumerate(records):
            value = getattr(record, column.field)
            if isinstance(value, np.ndarray):
                part = array.values[(run, *(slice(size) for size in value.shape))]
                np.testing.assert_array_equal(part, value, err_msg=column.path)
            elif isinstance(value, list):
                assert array.values[run, : len(value)].tolist() == value
            elif isinstance(value, int | float):
                assert array.values[run] == value
    assert np.isnan(tree["/energy/energy_j"].values[1, 5:]).all()
    lost = tree["/ledger/messages_lost"].sel(loss_cause="deadline")
    assert lost.values.tolist() == [record.messages_lost["deadline"] for record in records]
    assert tree["/scenario/override_text"].values[2].tolist() == records[2].overrides


def test_equal_runs_keep_their_types(tmp_path: Path) -> None:
    for seed in (1, 2):
        results.write(make_record(seed=seed), tmp_path / f"{seed}.h5")
    opened = open_results(tmp_path)
    assert opened.tree()["/metrics/round"].dtype == np.int64
    assert opened.dataset()["on_air_bits"].dtype == np.int64
    assert opened.evaluations["round"].dtype == np.int64


# -- optional packages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("package", "use"),
    [("pandas", lambda opened: opened.runs), ("pandas", lambda opened: opened.series)]
    + [("xarray", lambda opened: opened.dataset()), ("xarray", lambda opened: opened.tree())],
)
def test_a_missing_package_is_one_clear_line(
    package: str, use: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_results(folder)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(WsimError) as error:
        use(opened)
    assert str(error.value) == (
        f"{package} is not installed; pip install '.[views]' in the folder of wsim's source brings it (wsim.read does without)"
    )


def test_opening_loads_neither_pandas_nor_xarray_nor_torch(folder: Path) -> None:
    script = (
        f"import sys, wsim; wsim.open_results({str(folder)!r})\n"
        "print([name for name in ('pandas', 'xarray', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"


# -- the page -----------------------------------------------------------------------------------------------------------


def test_the_pages_examples_run(tmp_path: Path) -> None:
    """docs/pages/results.md, block by block as a reader would paste it; nothing stands on stderr, no warning either."""
    for seed in (1, 2):
        results.write(make_record(seed=seed), tmp_path / "outputs" / f"quickstart-s{seed}.h5")
    page = (ROOT / "docs" / "pages" / "results.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        script = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{block}"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
        assert done.stderr == ""


def test_what_the_page_says_of_datasets_is_there() -> None:
    page = (ROOT / "docs" / "pages" / "results.md").read_text("utf-8")
    known = {column.path for column in COLUMNS + sum(PAIRS.values(), ())} | {"/energy_use", results.CHANNEL}
    groups = {"/" + "/".join(path.split("/")[1:-1]) for path in known}
    for path in set(re.findall(r"['`](/[a-z_/]*)['`]", page)):
        assert path in known | groups, path
