"""[codec], [data], [model] and [algorithm] against the items that they name.

Each table has a few common keys, and the item's own ones: the fields of the dataclass, or the parameters of the function,
that is registered under the name. Their types and defaults are those that stand there. What an item's constructor or check
refuses by ValueError("key = value: what is accepted") is an error of that key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from learners.data.holdout import num_set_aside
from learners.data.shape import DataShape
from learners.data.views import view_shape
from wsim.catalog import find, importable
from wsim.errors import ScenarioError
from wsim.packets import room_bits
from wsim.scenario import mixing
from wsim.scenario.control import check_model
from wsim.scenario.conversion import convert, ranges_in_words, words
from wsim.scenario.keys import REQUIRED, Key, keys_of, own_keys, taken
from wsim.scenario.learning import Model, Topology
from wsim.scenario.mentions import Mentions
from wsim.scenario.messages import Path, nearest, problem, shown
from wsim.scenario.radio import Channel
from wsim.scenario.root import Scenario
from wsim.scenario.table import ItemTable


@dataclass(frozen=True)
class Item:
    """Something that a table names. key: of the table, "name" or "partition"."""

    kind: str
    key: str
    name: str
    make: Callable[..., Any]

    @property
    def keys(self) -> dict[str, Key]:
        return keys_of(self.kind, self.make)

    def own(self, table: ItemTable | Mapping[str, Any]) -> dict[str, Any]:
        """Those keys of a complete table that are this item's."""
        values = table.own if isinstance(table, ItemTable) else table
        return {key: values[key] for key in self.keys}


def check(
    scenario: Scenario, source: str, mentioned: Mentions, learner: type[Any] | None = None, task: Any = None
) -> tuple[Scenario, type[Any]]:
    """The scenario with complete own keys, and the learner's class. Raises ScenarioError.

    mentioned: the items that the scenario names, for keys of those that it does not use.
    learner: a class that is not registered, instead of the one that [algorithm] names.
    task: instead of what [data] and [model] name.
    """
    codec_item, codec_table = complete(scenario.codec, ("codec",), source, mentioned)
    codec = made(codec_item[0], ("codec",), source, codec_table)
    if hasattr(codec, "check_packets"):
        bits = room_bits(scenario.transport.mtu_bytes, scenario.transport.header_bytes)
        made(codec_item[0], ("codec",), source, codec_table, make=lambda **_: codec.check_packets(bits))
    (dataset, partition), data = complete(scenario.data, ("data",), source, mentioned)
    shape = _shape_of(task) if task is not None else _described(dataset, data, source)
    if shape is not None:
        _check_partition(scenario, partition, shape, data, source)
    shape = _viewed(scenario, shape, source, task)
    model = _models(scenario.model, source, mentioned, shape if task is None else None, data.name, task)
    channel = scenario.channel
    (path_loss,), path_loss_table = complete(channel.path_loss, ("channel", "path_loss"), source, mentioned)
    made(path_loss, ("channel", "path_loss"), source, path_loss_table, taken(path_loss.make, los=channel.los))
    (fading,), fading_table = complete(channel.fading, ("channel", "fading"), source, mentioned)
    made(fading, ("channel", "fading"), source, fading_table)
    channel = channel.model_copy(update={"path_loss": path_loss_table, "fading": fading_table})
    devices = tuple(
        group.model_copy(
            update={"mobility": complete(group.mobility, ("devices", i, "mobility"), source, mentioned)[1]}
        )
        for i, group in enumerate(scenario.devices)
    )
    (mac,), mac_table = complete(scenario.mac, ("mac",), source, mentioned)
    made(mac, ("mac",), source, mac_table)
    topology = _topology(scenario, source, mentioned)
    tables = {
        "devices": devices,
        "channel": channel,
        "mac": mac_table,
        "topology": topology,
        "codec": codec_table,
        "data": data,
        "model": model,
    }
    scenario = scenario.model_copy(update=tables)
    return _algorithm(
        scenario, learner, codec, None if shape is None or task is not None else shape.input_shape, source
    )


def path_loss_of(channel: Channel) -> Any:
    """The path loss model of a complete [channel]."""
    model = find("path_loss", channel.path_loss.kind)
    return model(**taken(model, los=channel.los), **own_keys("path_loss", model, channel.path_loss))


def _topology(scenario: Scenario, source: str, mentioned: Mentions) -> Topology:
    """[topology] with all keys of its kind, of which there is such a graph."""
    given = scenario.topology.own.get("directed")
    item = named("topology", "kind", scenario.topology.kind, ("topology",), source)
    always = getattr(item.make, "directed", given)
    if given is not None and "directed" not in item.keys and given != always:
        choices = [name for name, kind in importable("topology").items() if "directed" in keys_of("topology", kind)]
        says = (
            f"{item.name} is always {'directed' if always else 'undirected'}; leave this out, or {', '.join(choices)}"
        )
        raise problem(source, ("topology", "directed"), says, value=given)
    _, table = complete(scenario.topology, ("topology",), source, mentioned)
    if hasattr(item.make, "check"):
        made(
            item,
            ("topology",),
            source,
            table,
            make=lambda **own: item.make(**own).check(scenario.num_devices),
        )
    return table


def graph_of(topology: Topology) -> Any:
    """The kind of a complete [topology], see `wsim.graphs`."""
    kind = find("topology", topology.kind)
    return kind(**own_keys("topology", kind, topology))


def _models(model: Model, source: str, mentioned: Mentions, shape: DataShape | None, data: str, own_task: Any) -> Model:
    """[model] and its variants with all of their keys, each of which can be built for the data."""

    def checked(table: Any, path: Path) -> Any:
        (item,), found = complete(table, path, source, mentioned)
        if own_task is None:
            check_model(item.name, data, path, source)
        if shape is not None:
            arguments = {"input_shape": shape.input_shape, "num_classes": shape.num_classes}
            made(item, path, source, found, arguments, f" of data {data}")
        return found

    variants = tuple(checked(variant, ("model", "variants", i)) for i, variant in enumerate(model.variants))
    return checked(model, ("model",)).model_copy(update={"variants": variants})


def named(kind: str, key: str, name: str, path: Path, source: str) -> Item:
    """The registered item; a ScenarioError that names the key where there is none."""
    try:
        return Item(kind, key, name, find(kind, name))
    except ValueError as error:
        raise problem(source, (*path, key), str(error), value=name) from None


def complete(table: Any, path: Path, source: str, mentioned: Mentions) -> tuple[tuple[Item, ...], Any]:
    """The items that an `ItemTable` names, and the table with all of their own keys.

    A key of another registered item that the scenario names is dropped, so that one override or axis switches the item; any other
    is an error.
    """
    items = tuple(named(kind, key, getattr(table, key), path, source) for key, kind in table.items.items())
    return items, table.with_own(completed(table.own, items, list(type(table).model_fields), path, source, mentioned))


def completed(
    given: Mapping[str, Any],
    items: tuple[Item, ...],
    common: list[str],
    path: Path,
    source: str,
    mentioned: Mentions,
) -> dict[str, Any]:
    """All own keys of the items, in their order: as given, else their defaults.

    common: keys of the table that belong to no item; only messages name them.
    """
    keys = {name: key for item in items for name, key in item.keys.items()}
    for name, value in given.items():
        if name not in keys:
            _belongs_elsewhere(name, value, items, [*common, *keys], path, source, mentioned)
    values: dict[str, Any] = {}
    for name, key in keys.items():
        if name in given:
            values[name] = convert(given[name], key.hint, source, (*path, name))
        elif key.default is not REQUIRED:
            values[name] = key.default
        else:
            owner = next(item for item in items if name in item.keys)
            wants = [words(key.hint), *ranges_in_words(key.hint)]
            raise problem(source, (*path, name), f"this key is missing; {owner.name} needs {'; '.join(wants)}")
    return values


def made(
    item: Item,
    path: Path,
    source: str,
    table: ItemTable | Mapping[str, Any],
    arguments: Mapping[str, Any] | None = None,
    origin: str = "",
    make: Callable[..., Any] | None = None,
    shown_as: Mapping[str, str] | None = None,
) -> Any:
    """What `make`, the item itself by default, gives for its own keys and these arguments.

    Its ValueError becomes a ScenarioError that names the key; an argument is no key of the scenario, so that one that does
    not suit is a problem of the item's name. origin: where the arguments come from, for the message. shown_as: arguments in the
    words of the scenario.
    """
    values = item.own(table)
    try:
        return (make or item.make)(**(arguments or {}), **values)
    except ValueError as error:
        text = str(error)
    found = re.match(r"(\w+) = (.*?): (.*)", text, re.DOTALL)
    if found is None:
        raise ScenarioError(f"{source} [{'.'.join(map(str, path))}]: {text}")
    key, value, says = found.groups()
    if key == item.key:
        raise problem(source, (*path, key), says, value=item.name)
    if key not in values:
        value = (shown_as or {}).get(key, value)
        raise problem(source, (*path, item.key), f"{says}; {key} = {value}{origin}", value=item.name)
    _, _, others = value.partition(", ")  # as in "local_steps = 2, local_epochs = 2: give exactly one of the two"
    says += f"; {others}" if " = " in others and not others.endswith(" = None") else ""
    raise problem(source, (*path, key), says, value=... if values[key] is None else values[key])


def _belongs_elsewhere(
    name: str,
    value: Any,
    items: tuple[Item, ...],
    known: list[str],
    path: Path,
    source: str,
    mentioned: Mentions,
) -> None:
    """Returns where another item of these kinds that the scenario names has such a key and its type; else raises ScenarioError. A
    learner has its own keys only."""
    for item in items:
        others = importable(item.kind) if item.kind != "learner" else {}
        keys = {other: keys_of(item.kind, found).get(name) for other, found in others.items()}
        owners = {other: key for other, key in keys.items() if key is not None}
        if not owners:
            continue
        convert(value, next(iter(owners.values())).hint, source, (*path, name))
        if mentioned.any_of(owners, (*path, name)):
            return
        says = (
            f"is a key of {', '.join(owners)}, and {item.key} = {shown(item.name)}; leave it out, or choose one of them"
        )
        raise problem(source, (*path, name), says, value=value)
    what = " with ".join(item.name for item in items)
    says = f"unknown key of {what}{nearest(name, known)}, known: {', '.join(sorted(known))}"
    raise problem(source, (*path, name), says, value=value)


def _described(dataset: Item, data: ItemTable, source: str) -> DataShape | None:
    """The shape of the data where it is known before loading."""
    describe = getattr(dataset.make, "describe", None)
    shape: DataShape | None = None if describe is None else made(dataset, ("data",), source, data, make=describe)
    return shape


def _viewed(scenario: Scenario, shape: DataShape | None, source: str, task: Any) -> DataShape | None:
    """The shape of the data as devices see them; None where it is not known yet."""
    views = scenario.data.views
    if views is None:
        return shape
    if task is not None:
        raise problem(source, ("data", "views"), "an own task has its own samples; leave this out", table=True)
    if scenario.data.public_fraction is not None:
        says = "public samples have no view of their own; leave out one of the two"
        raise problem(source, ("data", "public_fraction"), says, value=scenario.data.public_fraction)
    if shape is None:
        return None
    try:
        return replace(shape, input_shape=view_shape(shape.input_shape, views.size, views.corners))
    except ValueError as error:
        raise ScenarioError(f"{source} [data] {error}") from None


def _shape_of(task: Any) -> DataShape:
    labels = task.train_labels
    return DataShape(len(labels), 0, len(set(labels.tolist())), ())


def _check_partition(scenario: Scenario, partition: Item, shape: DataShape, data: ItemTable, source: str) -> None:
    check = getattr(partition.make, "check", None)
    if check is None:
        return
    fraction = data.public_fraction  # type: ignore[attr-defined]
    public = 0 if fraction is None else num_set_aside(shape.num_train, fraction)
    sizes = {
        "num_train": shape.num_train - public,
        "num_classes": shape.num_classes,
        "num_devices": scenario.num_devices,
    }
    made(partition, ("data",), source, data, sizes, make=check)


def _algorithm(
    scenario: Scenario, learner: type[Any] | None, codec: Any, input_shape: tuple[int, ...] | None, source: str
) -> tuple[Scenario, type[Any]]:
    """input_shape: of a sample, None where it is not known yet."""
    algorithm, path = scenario.algorithm, ("algorithm",)
    item = (
        named("learner", "name", algorithm.name, path, source)
        if learner is None
        else Item("learner", "name", algorithm.name, learner)
    )
    given = algorithm.own
    if "num_rounds" in given:
        says = "the number of rounds is stop.rounds"
        raise problem(source, (*path, "num_rounds"), says, value=given["num_rounds"])
    mixing.check_read(scenario, item.make, source)
    _take_mixing_weights(scenario, given, item, source)
    own = completed(given, (item,), ["name"], path, source, Mentions())
    arguments = {"task": None, "codec": codec, "num_rounds": scenario.stop.rounds}

    def build(**keys: Any) -> Any:
        built = item.make(**keys)
        if input_shape is not None and hasattr(built, "check_samples"):
            built.check_samples(input_shape)
        return built

    built = made(item, path, source, own, arguments, make=build, shown_as={"codec": shown(scenario.codec.name)})
    own = {key: getattr(built, key) for key in own}  # the learner may fill in what it was not given
    return scenario.model_copy(update={"algorithm": algorithm.with_own(own)}), item.make  # type: ignore[return-value]


def _take_mixing_weights(scenario: Scenario, given: dict[str, Any], item: Item, source: str) -> None:
    """topology.mixing_weights is another place for the hyper-parameter of learners that mix; the two must agree."""
    key, topology = "mixing_weights", scenario.topology
    if key in item.keys and key in topology.model_fields_set:
        if given.setdefault(key, topology.mixing_weights) != topology.mixing_weights:
            says = f"[algorithm] {key} = {shown(given[key])} says otherwise; give one of them"
            raise problem(source, ("topology", key), says, value=topology.mixing_weights)
    if key in item.keys and key not in given and topology.mixing_matrix is not None:
        says = 'is read where mixing_weights = "file"; give it, or leave this out'
        raise problem(source, ("topology", "mixing_matrix"), says, value=topology.mixing_matrix)
