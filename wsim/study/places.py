"""Files and folders of data that the scenarios of a study name: that they are there is seen before any run begins."""

from __future__ import annotations

from collections.abc import Iterable

from wsim.catalog import find
from wsim.scenario import Loaded
from wsim.scenario.keys import keys_of
from wsim.scenario.messages import problem


def check_places(scenarios: Iterable[Loaded]) -> None:
    """Raise a ScenarioError for the first file or folder of [data] that does not exist. What is in it is for the loader to
    judge."""
    for loaded in scenarios:
        data = loaded.scenario.data
        for name, key in keys_of("dataset", find("dataset", data.name)).items():
            value = data.own.get(name) if key.is_place else None
            if value is not None and not (loaded.directory / value).exists():
                source = loaded.path.name if loaded.path else loaded.scenario.scenario.name
                says = f"there is no such file or folder ({(loaded.directory / value).absolute()})"
                raise problem(source, ("data", name), says, value=value)
