"""Movement traces as text: our own CSV, SUMO's floating car data, BonnMotion.

Each reader returns the points of every node by its name in the file, in the order of first appearance, and raises ValueError
"line N: ..." for anything that the format does not have. Times increase strictly; what a file says nothing about (z) is nan.

    csv         node, time_s, x_m, y_m[, z_m] a line, comma or blank between, # starts a comment; a header line may come first
    sumo_fcd    <fcd-export> of `sumo --fcd-output`: <timestep time="..."> with <vehicle id x y [z]/> and <person .../>; x and
                y in meters, not geographic. Who is missing in a time step and appears again has a hole: refused
    bonnmotion  one line a node: t x y t x y ... (the .movements file of BonnMotion, two dimensions)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from xml.parsers import expat

Point = tuple[float, float, float, float]
"""t_s, x_m, y_m, z_m."""
Points = dict[str, list[Point]]

LARGEST = 1e9
"""Of any time or coordinate."""

_CSV_HEADER = ["node", "time_s", "x_m", "y_m", "z_m"]


def read_csv(text: str) -> Points:
    points: Points = {}
    first = True
    for line, content in enumerate(text.splitlines(), start=1):
        values = content.partition("#")[0].split(",")
        fields = " ".join(values).split()
        if not fields or (first and fields in (_CSV_HEADER, _CSV_HEADER[:4])):
            continue
        first = False
        for number, value in enumerate(values, start=1):
            if not value.strip():
                raise ValueError(
                    f"line {line}: value {number} is empty; node, time_s, x_m, y_m and perhaps z_m are needed"
                )
        if len(fields) not in (4, 5):
            raise ValueError(f"line {line}: {len(fields)} values; node time_s x_m y_m [z_m] are needed")
        if not (fields[0].isascii() and fields[0].isdigit() and len(fields[0]) < 10):
            raise ValueError(f"line {line}: node {fields[0]!r} is no device number from 0")
        t, x, y, *z = _numbers(fields[1:], line)
        _append(points, str(int(fields[0])), (t, x, y, z[0] if z else math.nan), line)
    return points


def read_bonnmotion(text: str) -> Points:
    points: Points = {}
    for line, content in enumerate(text.splitlines(), start=1):
        fields = content.partition("#")[0].split()
        if not fields:
            continue
        if len(fields) % 3:
            raise ValueError(f"line {line}: {len(fields)} values; a node is a line of t x y t x y ..., in threes")
        values = _numbers(fields, line)
        name = str(len(points))
        for t, x, y in zip(values[::3], values[1::3], values[2::3], strict=True):
            _append(points, name, (t, x, y, math.nan), line)
    return points


def read_sumo_fcd(text: str) -> Points:
    """Document type declarations are refused, so that no entity is ever expanded."""
    parser = expat.ParserCreate()
    points: Points = {}
    steps: list[float] = []
    seen: dict[str, int] = {}  # name -> the last time step that has it

    def line() -> int:
        return int(parser.CurrentLineNumber)

    def attribute(tag: str, attributes: dict[str, str], name: str) -> float:
        if name not in attributes:
            raise ValueError(f"line {line()}: <{tag}> without {name}")
        return _numbers([attributes[name]], line())[0]

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "timestep":
            time_s = attribute(tag, attributes, "time")
            if steps and time_s <= steps[-1]:
                raise ValueError(f"line {line()}: time step {time_s} s follows {steps[-1]} s; times have to increase")
            steps.append(time_s)
        elif tag in ("vehicle", "person"):
            if not steps:
                raise ValueError(f"line {line()}: <{tag}> outside a <timestep>")
            name = attributes.get("id", "")
            if not name:
                raise ValueError(f"line {line()}: <{tag}> without id")
            step = len(steps) - 1
            if seen.get(name, step - 1) != step - 1:
                last = steps[seen[name]]
                what = "comes twice in" if seen[name] == step else f"was last seen at {last} s: a hole before"
                raise ValueError(f"line {line()}: {tag} {name!r} {what} {steps[-1]} s")
            seen[name] = step
            x, y = attribute(tag, attributes, "x"), attribute(tag, attributes, "y")
            z = attribute(tag, attributes, "z") if "z" in attributes else math.nan
            _append(points, name, (steps[-1], x, y, z), line())
        elif tag != "fcd-export":
            raise ValueError(f"line {line()}: <{tag}> is no part of SUMO's floating car data")

    def refuse(*_: object) -> None:
        raise ValueError(f"line {line()}: a document type declaration; plain <fcd-export> is needed")

    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ValueError(f"line {error.lineno}: no XML: {expat.ErrorString(error.code)}") from None
    return points


FORMATS: dict[str, Callable[[str], Points]] = {
    "csv": read_csv,
    "sumo_fcd": read_sumo_fcd,
    "bonnmotion": read_bonnmotion,
}


def format_of(file_name: str) -> str:
    """By the ending: .xml is sumo_fcd, .movements bonnmotion, everything else csv."""
    if file_name.endswith(".xml"):
        return "sumo_fcd"
    return "bonnmotion" if file_name.endswith(".movements") else "csv"


def _numbers(fields: list[str], line: int) -> list[float]:
    values = []
    for text in fields:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"line {line}: {text!r} is no number") from None
        if not (math.isfinite(value) and abs(value) <= LARGEST):
            raise ValueError(f"line {line}: {text!r} is no finite number of at most 1e9")
        values.append(value)
    return values


def _append(points: Points, name: str, point: Point, line: int) -> None:
    own = points.setdefault(name, [])
    if point[0] < 0:
        raise ValueError(f"line {line}: node {name} at {point[0]} s; times start at 0 or later")
    if own and point[0] <= own[-1][0]:
        raise ValueError(f"line {line}: node {name} at {point[0]} s follows {own[-1][0]} s; times have to increase")
    own.append(point)
