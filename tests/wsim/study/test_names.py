"""Names of points, and file names of arms and points."""

from __future__ import annotations

from wsim.study import names


def test_names_are_readable_and_safe_in_any_shell() -> None:
    assert names.of_arm("DRT N=2 (fast)") == "DRT_N=2_fast"
    assert names.of_arm("../../*") == "arm"
    point = {"devices.0.mobility.speed_mps": [0.8, 2.0], "phy.duplex": "tdd"}
    assert names.of_point("FedAvg", point) == "FedAvg,devices.0.mobility.speed_mps=0.8_2,phy.duplex=tdd"
    assert names.of_point(None, {}) == "base"
    assert names.of_point(None, {"a": 1e-7, "b": 2e6, "c": True, "d": 10}) == "a=1e-7,b=2e6,c=true,d=10"


def test_long_names_are_cut_and_stay_different() -> None:
    long = [names.of_point("a" * 60, {"k" * 90: value}) for value in (1, 2)]
    assert all(len(name) <= names.LONGEST for name in long)
    assert long[0] != long[1]


def test_equal_names_are_told_apart_whatever_their_order() -> None:
    assert names.distinct(["a", "b"], ["1", "2"]) == ["a", "b"]
    forth = names.distinct(["a", "A", "b"], ["1", "2", "3"])
    back = names.distinct(["A", "b", "a"], ["2", "3", "1"])
    assert sorted(forth) == sorted(back)
    assert len({name.casefold() for name in forth}) == 3


def test_tables_on_an_axis_are_told_apart_by_what_is_in_them() -> None:
    lossy = {"channel.forced_loss": {"rate": 0.1, "mean_burst_packets": 5.0}, "mac.kind": "tdma"}
    short = names.short_keys(list(lossy))
    assert names.words(lossy, short) == 'forced_loss = { rate = 0.1, mean_burst_packets = 5 }, kind = "tdma"'
    assert names.words({}, short) == ""
    assert names.value_text({"a b": [1, 2]}) == '{ "a b" = [1, 2] }'
