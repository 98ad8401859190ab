"""The [algorithm] table against the learner that it names.

A learner is a frozen dataclass. `task`, `codec` and `num_rounds` are handed in by the engine; its other fields are
exactly the keys of [algorithm], with the types and defaults written there.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Collection
from typing import Any, Literal, Union

from wsim.errors import ScenarioError
from wsim.scenario.messages import nearest, problem, shown
from wsim.scenario.root import Scenario

GIVEN = ("task", "codec", "num_rounds")  # by the engine
WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}


def check(scenario: Scenario, source: str, learner: type[Any] | None = None) -> tuple[Scenario, type[Any]]:
    """The scenario with complete hyper-parameters, and the learner's class. Raises ScenarioError."""
    algorithm = scenario.algorithm
    learner = learner or _registered(algorithm.name, source)
    given = algorithm.hyperparameters
    fields = {field.name: field for field in dataclasses.fields(learner) if field.init and field.name not in GIVEN}
    for key, value in given.items():
        if key == "num_rounds":
            raise problem(source, ("algorithm", key), "the number of rounds is stop.rounds", value=value)
        if key not in fields:
            says = f"unknown key of {algorithm.name}{nearest(key, fields)}, known: {', '.join(sorted(fields))}"
            raise problem(source, ("algorithm", key), says, value=value)
    _take_mixing_weights(scenario, given, fields, source)
    hints = typing.get_type_hints(learner)
    complete: dict[str, Any] = {}
    for key, field in fields.items():
        if key in given:
            complete[key] = _converted(given[key], hints[key], source, key)
        elif field.default is not dataclasses.MISSING:
            complete[key] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            complete[key] = field.default_factory()
        else:
            raise problem(
                source, ("algorithm", key), f"this key is missing; {algorithm.name} needs {_words(hints[key])}"
            )
    complete = _constructed(learner, scenario, complete, source)
    return scenario.model_copy(update={"algorithm": type(algorithm)(name=algorithm.name, **complete)}), learner


def _registered(name: str, source: str) -> type[Any]:
    """The class of a registered learner; imports torch with it."""
    from learners import registry

    if name not in registry.LEARNERS:
        known = sorted(registry.LEARNERS)
        says = f"unknown algorithm{nearest(name, known)}, known: {', '.join(known)}"
        raise problem(source, ("algorithm", "name"), says, value=name)
    learner: type[Any] = registry.load("learner", name)
    return learner


def _converted(value: Any, hint: Any, source: str, key: str) -> Any:
    """The value as the type that the field declares; whole numbers are numbers too."""
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is Literal:
            if value in typing.get_args(kind):
                return value
        elif kind is float and type(value) is int and abs(value) < 2**53:
            return float(value)
        elif type(value) is kind:
            return value
    choices = [
        choice for kind in _alternatives(hint) if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)
    ]
    guess = nearest(value, map(str, choices)) if isinstance(value, str) else ""
    raise problem(source, ("algorithm", key), f"has to be {_words(hint)}{guess}", value=value)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _words(hint: Any) -> str:
    """A type in words: "a whole number", "\\"unicast\\" or \\"broadcast\\""."""
    words: list[str] = []
    for kind in _alternatives(hint):
        if typing.get_origin(kind) is Literal:
            words += [shown(choice) for choice in typing.get_args(kind)]
        elif kind is not type(None):
            words.append(WORDS.get(kind, str(getattr(kind, "__name__", kind))))
    return " or ".join(words)


def _take_mixing_weights(scenario: Scenario, given: dict[str, Any], fields: Collection[str], source: str) -> None:
    """topology.mixing_weights is another place for the hyper-parameter of learners that mix; the two must agree."""
    key, topology = "mixing_weights", scenario.topology
    if key in fields and key in topology.model_fields_set:
        if given.setdefault(key, topology.mixing_weights) != topology.mixing_weights:
            says = f"[algorithm] {key} = {shown(given[key])} says otherwise; give one of them"
            raise problem(source, ("topology", key), says, value=topology.mixing_weights)


def _constructed(learner: type[Any], scenario: Scenario, complete: dict[str, Any], source: str) -> dict[str, Any]:
    """The values that the learner holds after it has checked them itself; its ValueError names the field."""
    try:
        built = learner(task=None, codec=None, num_rounds=scenario.stop.rounds, **complete)
    except ValueError as error:
        text = str(error)
        key = next((key for key in complete if re.search(rf"\b{key}\b", text)), None)
        if key is None:
            raise ScenarioError(f"{source} [algorithm]: {text}") from None
        says = re.sub(rf"^{key} = [^:]*: ", "", text)
        value = ... if complete[key] is None else complete[key]
        raise problem(source, ("algorithm", key), says, value=value) from None
    return {key: getattr(built, key) for key in complete}
