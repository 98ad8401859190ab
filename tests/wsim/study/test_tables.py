"""Tables of a study: numbers, their intervals, and nothing that does not exist."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.wsim.records import make_record
from tests.wsim.study.runs import make_comparison
from wsim.study.comparison import ACCURACY, ENERGY, Comparison, Row, compared
from wsim.study.finished import finished
from wsim.study.statistics import Estimate, difference, estimate
from wsim.study.table import amount, csv_text, difference_rows, markdown_text, to_target_text
from wsim.study.terminal import comparison_dict, comparison_table

POINTS: tuple[dict[str, Any], ...] = ({"channel.bandwidth_hz": 1e6}, {"channel.bandwidth_hz": 2e6})


def lines_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def printed(comparison: Comparison, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(comparison_table(comparison, width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def cut_short(comparison: Comparison, arm: str, at_s: float) -> Comparison:
    """One arm's runs ended earlier."""
    rows = []
    for row in comparison.rows:
        runs = row.runs
        if row.arm == arm:
            keep = int((runs[0].time_s <= at_s).sum())
            cuts = {name: slice(keep) for name in ("time_s", "accuracy", "accuracy_worst", "on_air_bits", "energy_j")}
            runs = tuple(
                replace(run, simulated_s=at_s, **{name: getattr(run, name)[cut] for name, cut in cuts.items()})
                for run in runs
            )
        rows.append(Row(row.arm, row.point, runs))
    return compared(comparison.name, rows, comparison.baseline, comparison.num_seeds)


def test_csv_has_a_line_a_run_and_reads_back_exactly() -> None:
    comparison = make_comparison(points=POINTS)
    lines = lines_of(csv_text(comparison))
    assert len(lines) == 2 * 2 * 5
    runs = [run for row in comparison.rows for run in row.runs]
    assert [float(line["accuracy_end"]) for line in lines] == [run.accuracy[-1] for run in runs]
    assert [float(line["energy_j"]) for line in lines] == [run.totals["energy_j"] for run in runs]
    assert [line["channel.bandwidth_hz"] for line in lines[::5]] == ["1000000.0", "2000000.0"] * 2
    assert {line["time_to_0.99_s"] for line in lines} == {""} == {line["rounds_to_0.99"] for line in lines}
    rounds = [np.argmax(run.accuracy >= 0.8) + 1 for run in runs]  # one an evaluation
    assert [float(line["rounds_to_0.8"]) for line in lines] == rounds
    assert not any("nan" in line.values() for line in lines)


def test_equal_time_is_the_earliest_end_at_the_point() -> None:
    comparison = cut_short(make_comparison(points=POINTS), "fast", 42.0)
    assert {row.equal_time_s for row in comparison.rows} == {42.0}
    slow = comparison.rows[0]
    at_40 = [run.accuracy[run.time_s == 40.0][0] for run in slow.runs]  # the latest evaluation by then
    assert slow.estimate(ACCURACY) == estimate(at_40)
    assert "accuracy at the end" in markdown_text(comparison).split("## Difference")[1]


def test_markdown_has_a_line_an_arm_and_point() -> None:
    text = markdown_text(make_comparison(points=POINTS))
    table = [line for line in text.split("## Difference")[0].splitlines() if line.startswith("| ")]
    assert len(table) == 2 + 4
    widths = {line.count("|") for line in table}
    assert len(widths) == 1
    assert "| fast | 2e6 | 5 of 5 | 100 s |" in text
    assert "not reached (0 of 5)" in text


def test_means_are_those_of_the_seeds() -> None:
    row = make_comparison().rows[1]
    values = [run.totals["energy_j"] for run in row.runs]
    assert row.estimate(ENERGY).mean == pytest.approx(np.mean(values), rel=1e-12)


def test_the_difference_is_seed_by_seed_over_those_that_both_have() -> None:
    comparison = make_comparison()
    fast, slow = comparison.rows[1], comparison.rows[0]
    missing = compared("x", [replace(slow, runs=slow.runs[1:]), replace(fast, runs=fast.runs[:-1])], "slow", 5)
    found = missing.difference(missing.rows[1], ACCURACY)
    mine, theirs = ([run.accuracy[-1] for run in row.runs[1:-1]] for row in (fast, slow))
    assert found == difference(mine, theirs)
    assert missing.difference(missing.rows[0], ACCURACY) is None  # the baseline itself
    apart = compared("x", [replace(slow, runs=slow.runs[:2]), replace(fast, runs=fast.runs[2:])], "slow", 5)
    assert apart.difference(apart.rows[1], ACCURACY) is None


def test_a_target_that_some_seeds_missed_has_no_interval() -> None:
    row = make_comparison().rows[1]
    reached = replace(row.runs[0], target_time_s=np.array([30.0, np.nan]))
    missed = replace(
        row.runs[0], **{f"target_{what}": np.full(2, np.nan) for what in ("time_s", "on_air_bits", "energy_j")}
    )
    assert to_target_text(replace(row, runs=(reached, missed)), 0.8).startswith("30.0 s, ")
    assert to_target_text(replace(row, runs=(reached, missed)), 0.8).endswith("(1 of 2)")
    assert "±" not in to_target_text(replace(row, runs=(reached, missed)), 0.8)
    assert "±" in to_target_text(row, 0.8)


def without_a_target_in_one_seed() -> Comparison:
    """Of the arm "fast", the last seed did not get to 0.8 and was evaluated after the equal time only."""
    slow, fast = make_comparison().rows
    late = replace(
        fast.runs[-1],
        time_s=fast.runs[-1].time_s + 100,
        **{f"target_{name}": np.full(2, np.nan) for name in ("time_s", "on_air_bits", "energy_j")},
    )
    return compared("x", [slow, replace(fast, runs=(*fast.runs[:-1], late))], "slow", 5)


def test_a_difference_over_some_of_the_common_seeds_has_no_interval_and_no_errors() -> None:
    comparison = without_a_target_in_one_seed()
    lines = {cells[1]: cells[2:] for cells in difference_rows(comparison, comparison.rows[1])}
    mean, *rest = lines["time to 0.8"]
    assert "±" not in mean
    assert rest == ["–", "–", "–", "4 of 5"]
    whole = make_comparison()
    mean, *rest = next(cells[2:] for cells in difference_rows(whole, whole.rows[1]) if cells[1] == "time to 0.8")
    assert "±" in mean
    assert "–" not in rest[:2]
    assert rest[-1] == "5"
    found = comparison_dict(comparison)
    time = next(entry for entry in found["differences"] if entry["of"] == "time_to_0.8_s")
    assert [time[key] for key in ("half_width", "paired_se", "unpaired_se", "ratio")] == [None] * 4
    assert (time["num"], time["num_without"]) == (4, 1)
    of_fast = found["rows"][1]["time_to_0.8_s"]
    assert (of_fast["half_width"], of_fast["num"], of_fast["num_without"]) == (None, 4, 1)
    assert of_fast["mean"] is not None


def test_a_mean_over_some_of_the_seeds_says_over_how_many() -> None:
    comparison = without_a_target_in_one_seed()
    mean = f"{comparison.rows[1].estimate(ACCURACY).mean:.4f} (4 of 5)"
    line = next(line for line in printed(comparison).splitlines() if line.startswith("accuracy at equal time"))
    assert mean in line
    assert line.count(" of 5)") == 1  # the other arm has all
    assert f"| {mean} |" in markdown_text(comparison)


@pytest.mark.parametrize(
    ("mean", "half_width", "unit", "text"),
    [
        (0.93124, 0.00411, "accuracy", "0.9312 ± 0.0041"),
        (3.952e8, 1.21e7, "bit", "395 ± 12 Mbit"),
        (64.61, 2.13, "J", "64.6 ± 2.1 J"),
        (999.7, math.nan, "J", "1.00 kJ"),
        (93.14, 4.21, "s", "93.1 ± 4.2 s"),
        (0.0042, 0.0001, "s", "4.20 ± 0.10 ms"),
        (0.0, 0.0, "bit", "0.00 ± 0.00 bit"),
        (57.2, 1.3, "", "57.2 ± 1.3"),
        (-2e6, 5e6, "bit", "-2.00 ± 5.00 Mbit"),
        (12345.0, 10.0, "s", "12345 ± 10 s"),
    ],
)
def test_amounts(mean: float, half_width: float, unit: str, text: str) -> None:
    assert amount(Estimate(mean, half_width, 5), unit) == text


def test_an_amount_of_nothing_is_a_dash() -> None:
    assert amount(Estimate(math.nan, math.nan, 0), "s") == "–"
    assert amount(Estimate(3.0, 1.0, 2), "", sign=True) == "+3.00 ± 1.00"


def test_the_terminal_shows_arms_side_by_side_as_far_as_they_fit() -> None:
    comparison = make_comparison(arms=("slow", "fast", "odd"))
    wide, narrow = printed(comparison, 120), printed(comparison, 60)
    assert any(all(arm in line for arm in ("slow", "fast", "odd")) for line in wide.splitlines())
    assert not any(all(arm in line for arm in ("slow", "fast", "odd")) for line in narrow.splitlines())
    assert all(len(line) <= 60 for line in narrow.splitlines())
    assert wide.count("paired s.e.") == 2  # and "unpaired s.e."
    assert narrow.count("accuracy at equal time") >= 2


def test_what_the_accuracies_are_of_is_said_for_each_arm() -> None:
    comparison = make_comparison()
    assert printed(comparison).rstrip().endswith("accuracy of: server, global_test")
    slow, fast = comparison.rows
    own = replace(fast, runs=tuple(replace(run, measured="device (mean), own_test") for run in fast.runs))
    both = compared("x", [slow, own], "slow", 5)
    assert "slow: server, global_test; fast: device (mean), own_test" in printed(both, 120)
    assert "| device (mean), own_test |" in markdown_text(both)


def test_of_control_problems_it_is_said_what_accuracy_is_a_share_of() -> None:
    comparison = make_comparison()
    rows = [
        replace(row, runs=tuple(replace(run, resolved={"data": {"name": "parallel_channels"}}) for run in row.runs))
        for row in comparison.rows
    ]
    text = printed(compared("x", rows, "slow", 5), 120)
    assert text.splitlines()[-1].endswith("global_test, share of the water-filling rate")
    assert "share of" not in printed(comparison, 120)


def test_what_was_evaluated_side_by_side_stands_side_by_side() -> None:
    slow, fast = make_comparison().rows
    name = "device (mean), own_test"
    both = {slow.runs[0].measured: slow.runs[0].accuracy, name: np.full(20, 0.25)}
    slow = replace(slow, runs=tuple(replace(run, series=both) for run in slow.runs))
    fast = replace(fast, runs=tuple(replace(run, series={run.measured: run.accuracy}) for run in fast.runs))
    text = printed(compared("x", [slow, fast], "slow", 5))
    line = next(line for line in text.splitlines() if line.startswith(name))
    assert line.split()[-4:] == ["0.2500", "±", "0.0000", "–"]
    alone = compared("x", [fast], "fast", 5)
    assert fast.runs[0].measured not in [measure.label for measure in alone.measures]


def test_disagreement_and_generalization_gap_stand_where_they_are_measured() -> None:
    seeds = (1, 2, 3)
    gap, far = {1: 0.02, 2: 0.03, 3: 0.07}, {1: 1.0, 2: 2.0, 3: 6.0}
    slow, fast = make_comparison(seeds=seeds).rows
    runs = tuple(
        replace(
            run,
            disagreement=np.full(20, far[run.seed]),
            generalization_gap={"device (mean)": np.full(20, gap[run.seed]), "mean_model": np.full(20, 0.5)},
        )
        for run in fast.runs
    )
    slow = replace(slow, runs=tuple(replace(run, disagreement=np.full(20, np.nan)) for run in slow.runs))
    comparison = compared("x", [slow, replace(fast, runs=runs)], "slow", 3)
    text = markdown_text(comparison)
    head, _, without, with_both = [
        [cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")
    ][:4]
    column = head.index("generalization gap, device (mean)")
    half_width = 4.303 * np.std([0.02, 0.03, 0.07], ddof=1) / np.sqrt(3)  # t of two degrees of freedom
    assert with_both[column] == f"0.0400 ± {half_width:.4f}"
    assert with_both[head.index("generalization gap, mean_model")] == "0.5000 ± 0.0000"
    assert with_both[head.index("disagreement")] == "3.00 ± 6.57"
    assert without[column] == without[head.index("disagreement")] == "–"
    line = next(line for line in printed(comparison, 140).splitlines() if line.startswith("generalization gap, device"))
    assert f"0.0400 ± {half_width:.4f}" in line
    last = lines_of(csv_text(comparison))[-1]
    assert (last["disagreement"], last["generalization_gap_device_mean"]) == ("6.0", "0.07")
    plain = compared("x", [slow], "slow", 3)
    assert not any(word in markdown_text(plain) for word in ("disagreement", "generalization gap"))


def test_diverged_runs_are_named_below_the_tables() -> None:
    comparison = make_comparison(seeds=(1, 2, 3))
    slow, fast = comparison.rows
    assert "diverged" not in markdown_text(comparison) + printed(comparison, 140)
    runs = tuple(replace(run, diverged=run.seed != 2) for run in fast.runs)
    comparison = compared("x", [slow, replace(fast, runs=runs)], "slow", 3)
    assert "\nModels diverged, their numbers are of no trained model: fast: 2 of 3 seeds.\n" in markdown_text(
        comparison
    )
    assert "models diverged: fast: 2 of 3 seeds" in printed(comparison, 140)
    assert [row["diverged"] for row in comparison_dict(comparison)["rows"]] == [[], [1, 3]]
    assert finished(make_record(notes=["diverged: the server's"]), Path("x.h5")).diverged


def test_what_a_study_keeps_of_disagreement_and_gap() -> None:
    """Records have the devices' accuracies on the test set second, and on what is called train here third."""
    record = make_record(seed=4)
    number = record.series_data.index("own_test")
    record.series_data[number] = "train"
    run = finished(record, Path("x.h5"))
    expected = record.series_accuracy[2] - record.series_accuracy[1]
    np.testing.assert_array_equal(run.generalization_gap["device (mean)"], expected)
    assert list(run.generalization_gap) == ["device (mean)"]
    np.testing.assert_array_equal(run.disagreement, record.series_disagreement[1])


def test_tables_survive_marks_in_names() -> None:
    comparison = make_comparison(arms=("a|b [bold]", "x"))
    assert "a\\|b [bold]" in markdown_text(comparison)
    assert "a|b [bold]" in printed(comparison)


def test_one_run_has_no_intervals() -> None:
    comparison = make_comparison(seeds=(1,))
    assert "±" not in markdown_text(comparison).split("|", 1)[1]
    assert "±" not in printed(comparison)


def test_old_evaluations_are_named_below_the_tables() -> None:
    """The equal time is 100 s; the last evaluation of one run was 4 s before, then 6 s before."""
    slow, fast = make_comparison(seeds=(1, 2)).rows
    assert slow.equal_time_s == slow.runs[0].time_s[-1] == 100.0
    for latest_s, named in ((96.0, None), (94.0, "slow: 6 s")):
        times_s = np.minimum(slow.runs[0].time_s, latest_s)
        runs = (replace(slow.runs[0], time_s=times_s), *slow.runs[1:])
        comparison = compared("x", [replace(slow, runs=runs), fast], "slow", 2)
        assert comparison.outdated == named
        for text in (markdown_text(comparison), printed(comparison, 140)):
            assert ("t equal time the latest evaluation is old" in text) == (named is not None)
