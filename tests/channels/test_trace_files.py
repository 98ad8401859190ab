"""Traces from files: the same path from every format, and one line for each kind of damage."""

import numpy as np
import pytest

from channels.mobility import Positions, TraceFile
from channels.trace_formats import format_of

CSV = "node, time_s, x_m, y_m\n0, 0, 0, 0\n1 0 5 5\n0, 10, 30, 40  # there\n\n0, 20, 30, 40\n1, 4, 5, 9\n"
BONNMOTION = "0 0 0 10 30 40 20 30 40\n0 5 5 4 5 9\n"
FCD = """<?xml version="1.0" encoding="UTF-8"?>
<fcd-export>
    <timestep time="0.00"><vehicle id="v" x="0" y="0" angle="9" type="car" speed="1" pos="2" lane="a" slope="0"/>
        <person id="p" x="5" y="5"/></timestep>
    <timestep time="4.00"><vehicle id="v" x="12" y="16"/><person id="p" x="5" y="9"/></timestep>
    <timestep time="10.00"><vehicle id="v" x="30" y="40"/></timestep>
    <timestep time="20.00"><vehicle id="v" x="30" y="40"/></timestep>
</fcd-export>
"""
FILES = {"walk.csv": CSV, "walk.movements": BONNMOTION, "walk.xml": FCD}


def positions(name, text, num_nodes=2, height_m=2.0, **keys):
    return Positions(TraceFile(name, **keys).paths(text, num_nodes, height_m))


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_path(name):
    """Straight lines between the points, and the last place for ever."""
    found = positions(name, FILES[name])
    np.testing.assert_allclose(
        found.at(np.array([0, 1]), np.array([0.0, 5.0, 15.0, 99.0])),
        [[[0, 0, 2], [15, 20, 2], [30, 40, 2], [30, 40, 2]], [[5, 5, 2], [5, 9, 2], [5, 9, 2], [5, 9, 2]]],
    )
    np.testing.assert_allclose(found.travelled_m(np.array([0, 1]), 15.0), [50.0, 4.0])
    np.testing.assert_allclose(found.max_speeds_mps, [5.0, 1.0])


@pytest.mark.parametrize("name", FILES)
def test_a_later_start_and_an_offset(name):
    found = positions(name, FILES[name], start_s=5.0, offset_m=(100.0, -100.0))
    np.testing.assert_allclose(found.at(np.array([0]), np.array([0.0, 3.0]))[0, :, :2], [[115, -80], [124, -68]])
    np.testing.assert_allclose(found.at(np.array([1]), 0.0)[0, :2], [105, -91])  # over before the start


def test_heights():
    assert positions("a.csv", "0 0 0 0 1\n0 2 0 0 3\n", 1).at(np.array([0]), 1.0).tolist() == [[0.0, 0.0, 2.0]]
    road = FCD.replace('y="9"', 'y="9" z="30"').replace('x="5" y="5"', 'x="5" y="5" z="20"')
    assert positions("a.xml", road).at(np.array([1]), 2.0)[0, 2] == 25.0 + 2.0


def test_a_node_stands_at_its_first_point_until_then():
    found = positions("a.csv", "0 3 7 0\n0 5 9 0\n", 1)
    np.testing.assert_allclose(found.at(np.array([0]), np.array([0.0, 2.0, 4.0]))[0, :, 0], [7, 7, 8])


def test_those_that_are_there_the_longest():
    """In the order of the file: v is there 20 s, p 4 s; after 4 s only v."""
    assert positions("a.xml", FCD, 1, pick="longest").at(np.array([0]), 10.0)[0, 0] == 30
    three = "0 0 1 1\n1 0 0 10 0 0\n2 0 0 30 0 0\n"  # there for 0, 10 and 30 s, at x = 0, 0 to 10, 2 to 30
    with pytest.raises(ValueError, match="threes"):
        positions("a.movements", three, 1)
    three = "0 1 1\n0 2 0 10 0 0\n0 3 0 30 0 0\n"
    two = positions("a.movements", three, 2, pick="longest")
    assert two.at(np.array([0, 1]), 0.0)[:, 0].tolist() == [2.0, 3.0]
    with pytest.raises(ValueError, match=r"1 nodes have points after start_s = 20, the group has 2"):
        positions("a.movements", three, 2, pick="longest", start_s=20.0)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.csv", "", "holds no point of any node"),
        ("a.csv", "1,0,1,1\n", "node 0 has no point"),
        (
            "a.csv",
            "0,0,1,1\n1,0,1,1\n1,0.1,1,2001\n",
            "node 1 goes at 2e\\+04 m/s from 0 s to 0.1 s; at most 10000 m/s",
        ),
        ("a.xml", "<fcd-export/>", "holds no point of any node"),
        ("a.csv", "node,time,x,y\n", "line 1: node 'node' is no device number"),
        ("a.csv", "0,0,1,1\n", "node 1 has no point; the group has 0 to 1"),
        ("a.csv", "0,0,1,1\n1,0,1,1\n0,4,1,1\n0,3,1,1\n", "line 4: node 0 at 3.0 s follows 4.0 s"),
        ("a.csv", "0,0,1,1\n0,0,2,1\n1,0,1,1\n", "line 2: node 0 at 0.0 s follows"),
        ("a.csv", "0,-1,1,1\n", "line 1: node 0 at -1.0 s; times start at 0"),
        ("a.csv", "2,0,1,1\n0,0,1,1\n1,0,1,1\n", "node 2 does not exist, the group has 0 to 1"),
        ("a.csv", "0,0,1\n", "line 1: 3 values; node time_s"),
        ("a.csv", "0,0,1,north\n", "line 1: 'north' is no number"),
        ("a.csv", "0,0,1,nan\n", "line 1: 'nan' is no finite"),
        ("a.csv", "0.5,0,1,1\n", "line 1: node '0.5' is no device number"),
        ("a.movements", "0 1 1 2\n", "line 1: 4 values; .* in threes"),
        ("a.movements", "0 1 1\n", 'holds 1 nodes, the group has 2 devices; count = 1, or pick = "longest"'),
        ("a.movements", "0 1 1 5 2 2 5 3 3\n", "line 1: node 0 at 5.0 s follows 5.0 s"),
        ("a.xml", "<fcd-export>", "line 1: no XML"),
        ("a.xml", "<routes/>", "line 1: <routes> is no part"),
        ("a.xml", FCD.replace('"4.00"', '"0.00"'), "line 5: time step 0.0 s follows 0.0 s"),
        ("a.xml", FCD.replace("<person", "<vehicle").replace('"p"', '"v"'), "line 4: vehicle 'v' comes twice in 0.0 s"),
        (
            "a.xml",
            FCD.replace('<vehicle id="v" x="12" y="16"/>', ""),
            "line 6: vehicle 'v' was last seen at 0.0 s: a hole",
        ),
        ("a.xml", FCD.replace('x="12"', ""), "line 5: <vehicle> without x"),
        ("a.xml", '<fcd-export><vehicle id="v" x="0" y="0"/></fcd-export>', "line 1: <vehicle> outside"),
        ("a.xml", FCD.replace('id="p"', ""), "line 4: <person> without id"),
        ("a.xml", '<!DOCTYPE fcd-export [<!ENTITY a "b">]>\n<fcd-export/>', "line 1: a document type declaration"),
    ],
)
def test_damage_is_named_with_its_line(name, text, match):
    with pytest.raises(ValueError, match=match):
        positions(name, text)


@pytest.mark.parametrize("name", FILES)
def test_a_hole_is_a_longer_gap_than_allowed(name):
    assert positions(name, FILES[name], max_gap_s=10.0).num_nodes == 2
    with pytest.raises(
        ValueError, match=r"has no point between (0|4|10) s and (10|20) s: a hole of more than max_gap_s = 7"
    ):
        positions(name, FILES[name], max_gap_s=7.0)


def test_a_run_that_begins_after_the_end_of_its_trace_is_refused():
    two = "0,0,1,1\n1,0,1,1\n1,9,1,2\n"
    assert positions("a.csv", two, start_s=9.0).num_nodes == 2  # everybody stands where the trace ends
    with pytest.raises(ValueError, match=r"^ends at 9 s, before start_s = 9.5$"):
        positions("a.csv", two, start_s=9.5)


def test_the_format_goes_by_the_ending():
    assert [format_of(name) for name in ("a.xml", "b.movements", "c.csv", "d")] == [
        "sumo_fcd",
        "bonnmotion",
        "csv",
        "csv",
    ]
    assert positions("trace.txt", FCD, format="sumo_fcd").num_nodes == 2
