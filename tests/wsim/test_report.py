"""The summary as an object and as a table."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.wsim.records import END_S, make_record
from wsim.record import ENERGY_USES, RunRecord
from wsim.report import seconds, si, summary_dict, summary_table, timeline_shares


def rendered(record: RunRecord, width: int = 80) -> str:
    file = io.StringIO()
    Console(width=width, file=file).print(summary_table(record))
    return file.getvalue()


def test_summary_holds_what_scripts_rely_on() -> None:
    record = make_record()
    summary = summary_dict(record)
    assert summary["accuracy"] == record.accuracy[-1]
    assert summary["accuracy_worst"] == record.accuracy_worst[-1]
    assert summary["simulated_s"] == END_S
    assert summary["bits"] == {"payload": 370_000_000, "coded": 383_000_000, "on_air": 395_000_000}
    assert summary["energy_j"] == pytest.approx(record.energy_j[:20].sum(), rel=1e-12)
    assert list(summary["energy_by_use_j"]) == list(ENERGY_USES)
    assert sum(summary["energy_by_use_j"].values()) == pytest.approx(summary["energy_j"], rel=1e-12)
    assert summary["server_energy_j"] == pytest.approx(record.energy_j[20].sum(), rel=1e-12)
    messages = summary["messages"]
    assert messages["sent"] == messages["delivered"] + sum(messages["lost"].values()) + messages["in_flight"]
    assert summary["exact"] is True
    assert summary["rounds"] == 60
    assert summary["targets"][0] == {"accuracy": 0.8, "time_s": 17.3, "on_air_bits": 5.8e7, "energy_j": 35.2}
    assert summary["targets"][2] == {"accuracy": 0.97, "time_s": None, "on_air_bits": None, "energy_j": None}


def test_the_graph_is_in_the_object_as_in_the_table() -> None:
    edges = np.array([[0, 1], [1, 2], [0, 1]])
    record = make_record(spectral_gap=np.array([0.5, 0.123456]), edges=edges, edge_snapshot=np.array([0, 0, 1]))
    assert summary_dict(record)["graph"] == {
        "links": {"min": 1, "max": 2},
        "spectral_gap": {"min": 0.123456, "max": 0.5},
    }
    assert "1 to 2 links · spectral gap 0.123 to 0.5" in rendered(record)
    star = make_record(spectral_gap=np.full(2, np.nan))
    assert summary_dict(star)["graph"] is None
    assert "spectral gap" not in rendered(star)


@pytest.mark.parametrize("changes", [{}, {"estimated": True}, {"num_evals": 0}, {"server": False, "num_devices": 1}])
def test_summary_is_json_without_nan(changes: dict[str, Any]) -> None:
    if changes.get("num_devices") == 1:
        changes = changes | {"group": np.zeros(1, dtype=np.int64)}
    summary = summary_dict(make_record(**changes))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_an_estimate_has_no_accuracy() -> None:
    summary = summary_dict(make_record(estimated=True))
    assert summary["accuracy"] is None
    assert summary["accuracy_worst"] is None
    assert summary["exact"] is False
    assert summary_dict(make_record(server=False))["server_energy_j"] is None


def test_shares_sum_to_one_and_leave_the_server_out() -> None:
    record = make_record()
    before = timeline_shares(record)
    for shares in before.values():
        assert sum(shares.values()) == pytest.approx(1, rel=1e-12)
    record.radio_s[-1] = 0
    record.processor_s[-1] = 0
    record.program_s[-1] = 0
    assert timeline_shares(record) == before


def test_shares_are_zero_where_no_time_has_passed() -> None:
    record = make_record(processor_s=np.zeros((21, 2)))
    assert timeline_shares(record)["processor"] == {"computing": 0, "idle": 0}


@pytest.mark.parametrize("changes", [{}, {"server": False}, {"estimated": True}, {"num_evals": 0}])
def test_table_fits_80_columns_and_cuts_nothing(changes: dict[str, Any]) -> None:
    text = rendered(make_record(**changes))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text
    assert sorted(rendered(make_record(**changes), width=200).split()) == sorted(text.split())  # names may be folded


def test_table_says_what_was_reached() -> None:
    text = rendered(make_record())
    for words in (
        "quickstart",
        "118.4 s, 60 rounds, ended by stop.rounds",
        "payload 370 Mbit · coded 383 Mbit · on the air 395 Mbit",
        "2,400 sent",
        "2,343 delivered (2,301 used, 42 unused)",
        "37 lost (outage 6, deadline 31)",
        "20 in flight",
        "worst device",
        "not reached",
        "awaiting outcome",
    ):
        assert words in text, words
    assert "not computed" in rendered(make_record(estimated=True))
    assert "server" not in rendered(make_record(server=False, notes=[]))


def test_table_shows_names_and_notes_as_they_are() -> None:
    text = rendered(make_record(name="[red]run[/red]", notes=["[bold]slow[/x]"]))
    assert "[red]run[/red]" in text
    assert "[bold]slow[/x]" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "J", "0 J"),
        (1, "bit", "1 bit"),
        (999, "bit", "999 bit"),
        (1000, "bit", "1.00 kbit"),
        (999.7, "J", "1.00 kJ"),
        (99.96, "J", "100 J"),
        (9.996, "J", "10.0 J"),
        (153_920, "bit", "154 kbit"),
        (3.95e8, "bit", "395 Mbit"),
        (0.0204, "J", "20.4 mJ"),
        (1e-12, "J", "1e-12 J"),
    ],
)
def test_three_digits_and_a_prefix(value: float, unit: str, text: str) -> None:
    assert si(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 ms"), (0.0123, "12.3 ms"), (1, "1.0 s"), (118.4, "118.4 s"), (3599, "59 min 59 s"), (90000, "25 h 0 min")],
)
def test_durations_for_people(value: float, text: str) -> None:
    assert seconds(value) == text


# What was evaluated side by side.

USUAL: dict[str, Any] = dict(
    series_report=["model", "model"],
    series_subject=["server", "device"],
    series_data=["global_test", "global_test"],
    levels=["mean", "worst", "p10", "std"],
)


def usual(**changes: Any) -> RunRecord:
    """A record of a run without keys in [evaluation]."""
    record = make_record()
    fields = {name: getattr(record, name)[:2] for name in vars(record) if name.startswith("series_")}
    fields["series_disagreement"] = np.full((2, 60), np.nan)
    return make_record(**(fields | USUAL | changes))


def test_every_series_is_in_the_object_the_headline_first() -> None:
    record = make_record(server=False, by_group=True)
    first, mean_model, own = summary_dict(record)["series"]
    assert (first["report"], first["subject"], first["data"]) == ("model", "device", "global_test")
    assert first["accuracy"] == record.series_accuracy[0, -1]
    assert first["loss"] == summary_dict(record)["test_loss"] == record.series_loss[0, -1]
    levels = dict(zip(record.levels, record.series_accuracy_by_level[2, -1].tolist(), strict=True))
    assert own["over_devices"] == levels
    assert own["loss_over_devices"]["worst"] == record.series_loss_by_device[2, -1].max()
    assert mean_model["over_devices"] == dict.fromkeys(record.levels)
    assert mean_model["disagreement"] is None
    slow = record.series_accuracy_by_group[2, -1, 1]
    assert own["groups"]["slow walkers"] == dict(zip(record.levels, slow.tolist(), strict=True))
    assert "groups" not in summary_dict(make_record())["series"][0]
    assert summary_dict(record)["target"] == {
        "report": "model",
        "subject": "device",
        "data": "global_test",
        "over_devices": "mean",
        "sustained_evaluations": 1,
    }


def test_the_table_has_a_line_a_series_and_a_group() -> None:
    record = make_record(server=False, by_group=True)
    lines = [line.split() for line in rendered(record, width=120).splitlines()]
    values = [f"{value:.4f}" for value in record.series_accuracy_by_level[2, -1]]
    loss, distance = record.series_loss[2, -1], record.series_disagreement[2, -1]
    assert ["devices", "·", "own", "test", *values, f"{loss:.4f}", f"{distance:.4f}"] in lines
    assert ["slow", "walkers", *(f"{value:.4f}" for value in record.series_accuracy_by_group[2, -1, 1])] in lines
    genie = next(line for line in lines if "(genie)" in line)
    assert genie[-6:-1] == [f"{record.series_accuracy[1, -1]:.4f}", "-", "-", "-", f"{record.series_loss[1, -1]:.4f}"]


def test_the_usual_run_has_no_such_table_and_names_no_subject() -> None:
    text = rendered(usual())
    assert "accuracy at the end" not in text
    assert f"{usual().accuracy[-1]:.4f} · worst device" in text
    assert "targets:" not in text
    for change in (
        {"by_group": True},
        {"series_report": ["model", "small_head"]},
        {"series_data": ["own_test", "own_test"]},
        {"series_subject": ["mean_model", "device"]},
        {"levels": ["worst", "mean", "p10", "std"]},
        {"series_disagreement": np.ones((2, 60))},
    ):
        assert "accuracy at the end" in rendered(usual(**change)), change


def test_the_headline_is_named_where_it_is_unusual() -> None:
    changes: dict[str, Any] = {"series_subject": ["device", "server"], "series_data": ["own_test", "own_test"]}
    text = rendered(usual(**changes, levels=["p10", "mean", "best", "std"]), width=100)
    assert "(p10, devices · own test) · worst device" in text
    text = rendered(usual(series_report=["small_head", "model"]), width=100)
    assert "(small head · server · global test)" in text


def test_targets_say_what_they_are_of_where_it_is_unusual() -> None:
    record = usual(target_subject="device", target_data="own_test", target_level="p10", sustained_evaluations=3)
    assert "targets: devices · own test, p10, held for 3 evaluations" in rendered(record)
