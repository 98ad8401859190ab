"""`wsim list` and `wsim schema`: what a scenario may name, and what may stand in it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from wsim.cli.options import Json
from wsim.cli.output import print_json, working


class ListKind(StrEnum):
    learners = "learners"
    channels = "channels"
    mobilities = "mobilities"
    macs = "macs"
    topologies = "topologies"
    codecs = "codecs"
    data = "data"
    models = "models"
    partitions = "partitions"
    scenarios = "scenarios"


Which = Annotated[ListKind | None, typer.Argument(metavar="KIND", help="Names of this kind only.")]


def list_items(kind: Which = None, json: Json = False) -> None:
    """What a scenario may name, plug-ins included, and the scenarios that come with wsim."""
    from wsim.packages import check_packages

    check_packages()
    if kind is not None and json:
        print_json(_items(kind))
        return
    found = {one: _items(one) for one in ([kind] if kind else ListKind)}
    if json:
        print_json([{"kind": one.value, **item} for one, items in found.items() for item in items])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for style in ("cyan", "bold", None)[1 if kind else 0 :]:
        table.add_column(style=style, no_wrap=style is not None)
    for one, items in found.items():
        for number, item in enumerate(items):
            heading = [] if kind else ["" if number else one.value]
            table.add_row(*heading, item["name"], Text(item["summary"]))
    Console().print(table)


def schema() -> None:
    """JSON schema of scenario files, plug-ins included, for editors.

    Save it beside your scenarios and begin them with the line #:schema ./wsim.schema.json: editors that know Taplo then check
    and complete the keys.
    """
    from wsim.packages import check_packages

    check_packages()
    with working("collecting what a scenario may name"):
        from wsim.scenario.schema import schema as scenario_schema

        found = scenario_schema()
    print_json(found)


def _items(kind: ListKind) -> list[dict[str, str]]:
    if kind == ListKind.scenarios:
        from wsim import packaged

        return [{"name": name, "summary": packaged.summary(path)} for name, path in packaged.scenarios().items()]
    from wsim.catalog import KINDS, LISTED, summaries

    kinds = LISTED[kind]
    found: dict[str, list[str]] = {}
    for one in kinds:
        for name, line in summaries(one).items():
            found.setdefault(name, []).append(line if len(kinds) == 1 else f"{KINDS[one].noun}: {line}")
    return [{"name": name, "summary": " ".join(lines)} for name, lines in found.items()]
