"""What commands print: tables and JSON on stdout, everything else on stderr."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from wsim.record import RunRecord

PLAIN: dict[str, Any] = {"markup": False, "highlight": False, "soft_wrap": True}


def stderr() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def working(what: str) -> AbstractContextManager[Any]:
    """A moving line on stderr while something takes a while; nothing where that is no terminal."""
    console = stderr()
    return console.status(f"{what} ...") if console.is_terminal else nullcontext()


def print_json(value: Any) -> None:
    """A value as indented JSON, which has no NaN."""
    import json

    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def print_record(record: RunRecord, json: bool) -> None:
    """A run's summary: one JSON object or a table."""
    if json:
        from wsim.report import summary_dict

        print_json(summary_dict(record))
        return
    from rich.console import Console

    from wsim.report import summary_table

    Console().print(summary_table(record))


def print_devices(record: RunRecord, json: bool) -> None:
    """The devices of a run: a list of JSON objects or a table."""
    from wsim.devices_report import device_dicts, device_table

    if json:
        print_json(device_dicts(record))
        return
    from rich.console import Console

    Console().print(device_table(record))
