"""Checks of scenarios whose [data] is a control problem (`learners.control`), and that others ask for nothing of one."""

from __future__ import annotations

from typing import Any

from wsim.catalog import find, importable
from wsim.scenario.evaluation import scale_of
from wsim.scenario.messages import Path, problem
from wsim.scenario.root import Scenario

OBSERVED = "observed_links"
WITH_SAMPLES = ("own_test", "own_classes", "own_view", "train")
"""Test data that are labelled samples of devices."""


def controls_of(data_name: str) -> str | None:
    """The kind of samples of a control problem, None of other data."""
    kind: str | None = getattr(find("dataset", data_name), "controls", None)
    return kind


def kinds_of(model: Any) -> tuple[str, ...]:
    """Kinds of samples that a model decides about; none for a classifier."""
    one: str | None = getattr(model, "controls", None)
    kinds: tuple[str, ...] = getattr(model, "kinds", () if one is None else (one,))
    return kinds


def controllers(kind: str) -> list[str]:
    """Names of the models for samples of a kind."""
    return [name for name, model in importable("model").items() if kind in kinds_of(model)]


def check_model(name: str, data_name: str, path: Path, source: str) -> None:
    """Raise a ScenarioError unless the model is for such data."""
    kind = controls_of(data_name)
    takes = kinds_of(find("model", name))
    if kind is None and takes:
        problems = [data for data, load in importable("dataset").items() if getattr(load, "controls", None) in takes]
        says = f"is a controller, and data {data_name} are samples to classify; with it: data {', '.join(problems)}"
        raise problem(source, (*path, "name"), says, value=name)
    if kind is not None and kind not in takes:
        says = f"does not decide about objects of data {data_name}; one of {', '.join(controllers(kind))}"
        raise problem(source, (*path, "name"), says, value=name)


def check(scenario: Scenario, learner: Any, source: str) -> None:
    """Raise a ScenarioError for the first key that does not go with the data. learner: its class, of which `needs_classes` and `needs_links` are used."""
    data = scenario.evaluation.data
    if getattr(learner, "needs_links", False) and scenario.data.name != OBSERVED:
        says = f"decides about the links of the network that it runs on, and this is data {scenario.data.name}; data {OBSERVED}"
        raise problem(source, ("algorithm", "name"), says, value=scenario.algorithm.name)
    if controls_of(scenario.data.name) is None:
        for number, word in enumerate(data):
            if word == "own_scale" or scale_of(word) is not None:
                says = f"is of control problems, such as data interference_channel, and this is {scenario.data.name}"
                raise problem(source, ("evaluation", "data", number), says, value=word)
        for number, target in enumerate(scenario.evaluation.targets.accuracy):
            if target >= 1:
                says = "accuracies are below 1; only of control problems are they shares of a reference's rate, which may be more"
                raise problem(source, ("evaluation", "targets", "accuracy", number), says, value=target)
        return
    name = scenario.data.name
    if getattr(learner, "needs_classes", False):
        says = (
            f"learns from classes of samples, and data {name} have none; one that trains models, such as fedavg, dpsgd"
        )
        raise problem(source, ("algorithm", "name"), says, value=scenario.algorithm.name)
    if scenario.model.variants:
        raise problem(
            source, ("model", "variants"), f"controllers of data {name} are of one architecture; leave this out"
        )
    _head(scenario, source)
    for key in ("objective", "distortion"):
        if (value := getattr(scenario.task, key)) is not None:
            raise problem(source, ("task", key), f"data {name} have their own; leave this out", value=value)
    for key in ("local_test_fraction", "public_fraction", "views"):
        if getattr(scenario.data, key) is not None:
            raise problem(source, ("data", key), f"{name} is no data set of labelled samples; leave this out")
    if scenario.evaluation.metrics:
        says = f"are of representations of classes, and data {name} have none; leave them out"
        raise problem(source, ("evaluation", "metrics"), says, value=scenario.evaluation.metrics)
    own = scenario.data.own
    if name == OBSERVED:
        _observed(scenario, source)
        return
    tested = sorted({*own["scales"], *own["test_scales"]})
    for number, word in enumerate(data):
        if word in WITH_SAMPLES:
            says = f'data {name} have no labelled samples; "global_test", "own_scale", "scale_{tested[0]}"'
            raise problem(source, ("evaluation", "data", number), says, value=word)
        scale = scale_of(word)
        if scale is not None and scale not in tested:
            says = f"nothing is tested with {scale} objects; add it to data.test_scales, or one of {', '.join(map(str, tested))}"
            raise problem(source, ("evaluation", "data", number), says, value=word)


def _head(scenario: Scenario, source: str) -> None:
    """Of a model with several, one whose scores decide about every object."""
    head, name = scenario.model.own.get("head"), scenario.data.name
    if head == "ego":
        says = f'decides about one object, and data {name} ask for powers of all; "equivariant", or leave it out'
    elif head == "invariant" and controls_of(name) == "vector":
        says = (
            f'gives all objects one score, and data {name} a budget to split by scores; "equivariant", or leave it out'
        )
    else:
        return
    raise problem(source, ("model", "head"), says, value=head)


def _observed(scenario: Scenario, source: str) -> None:
    """Samples that devices record as time passes."""
    data, stop = scenario.data, scenario.stop
    if "partition" in data.model_fields_set:
        says = f"devices hold what they observe, and {OBSERVED} are dealt by nobody; leave this out"
        raise problem(source, ("data", "partition"), says, value=data.partition)
    if data.own["horizon_s"] is None and stop.simulated_s is None:
        says = "this key is missing; without stop.simulated_s it has to say for how long samples are recorded, in s"
        raise problem(source, ("data", "horizon_s"), says)
    if scenario.algorithm.own.get("local_epochs") is not None:
        says = f"samples of {OBSERVED} come in while time passes, and there are no passes over them; local_steps"
        raise problem(source, ("algorithm", "local_epochs"), says, value=scenario.algorithm.own["local_epochs"])
    for number, word in enumerate(scenario.evaluation.data):
        scale, largest = scale_of(word), data.own["max_scale"]
        if word in (*WITH_SAMPLES, "own_scale") or (scale is not None and scale > largest):
            says = "devices have no samples of their own to test on, and another number of objects at any time"
            if scale is not None:
                says = f"samples have at most data.max_scale = {largest} objects"
            says = f'{says}; "global_test", or "scale_2" and others for so many objects'
            raise problem(source, ("evaluation", "data", number), says, value=word)
