"""The content of several result files as one xarray tree with a run dimension."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wsim.record import LOSS_CAUSES, RunRecord
from wsim.result_columns import COLUMNS, DIMENSIONS, PAIRS, Column
from wsim.results import is_there
from wsim.views import padded

if TYPE_CHECKING:
    import xarray as xr


def tree(xarray: Any, records: Sequence[RunRecord]) -> xr.DataTree:
    """The datasets of `wsim.result_columns` under their own paths, [run, ...]. xarray: the module."""
    groups: dict[str, dict[str, Any]] = {"/": {}}
    used: dict[str, set[str]] = {"/": set()}
    for columns, values in _columns(records):
        for column, per_run in zip(columns, values, strict=True):
            group, _, name = column.path.rpartition("/")
            variables = groups.setdefault(group or "/", {})
            used.setdefault(group or "/", set()).update(column.dims)
            attributes = {"long_name": column.long_name} | ({"units": column.units} if column.units else {})
            variables[name] = (("run", *column.dims), _stacked(column, per_run), attributes)
    datasets = {}
    for group, variables in groups.items():
        words = {name: list(DIMENSIONS[name].meanings) for name in used[group] if DIMENSIONS[name].meanings}
        datasets[group] = xarray.Dataset(variables, {name: (name, np.array(word)) for name, word in words.items()})
    return xarray.DataTree.from_dict(datasets)


def _columns(records: Sequence[RunRecord]) -> Any:
    """(columns, for each of them its values by run)."""
    for column in COLUMNS:
        if column.usual is None and not any(is_there(column, record) for record in records):
            continue
        values = [getattr(record, column.field) for record in records]
        if column.field == "messages_lost":
            values = [np.array([lost.get(cause, 0) for cause in LOSS_CAUSES]) for lost in values]
        elif column.field == "resolved":
            values = [json.dumps(value, sort_keys=True) for value in values]
        yield (column,), (values,)
    for field, columns in PAIRS.items():
        pairs = [getattr(record, field) for record in records]
        if field == "edges":
            yield columns, ([pair[:, 0] for pair in pairs], [pair[:, 1] for pair in pairs])
        else:
            yield (
                columns,
                ([sorted(pair) for pair in pairs], [[str(pair[key]) for key in sorted(pair)] for pair in pairs]),
            )


def _stacked(column: Column, values: Sequence[Any]) -> np.ndarray:
    if column.units is not None:
        arrays = [np.asarray(value) for value in values]
        return padded(arrays, tuple(max(sizes) for sizes in zip(*(array.shape for array in arrays), strict=True)))
    if not column.dims:
        return np.array(values, dtype=object)
    longest = max(map(len, values))
    texts = np.full((len(values), longest), "", dtype=object)
    for row, value in zip(texts, values, strict=True):
        row[: len(value)] = value
    return texts
