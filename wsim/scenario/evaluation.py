"""The [evaluation] table: what is measured, of whose model, on which data, how it is brought together over the devices.

The first entry of each list is the headline: what `accuracy` means in results, tables and pictures, and in targets that say
nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from learners.representation.names import ACCURACIES, DEFAULT_ACCURACY, Metric
from wsim.scenario import quantities as q
from wsim.scenario.messages import nearest, problem, shown
from wsim.scenario.table import Table, left_out

if TYPE_CHECKING:
    from wsim.scenario.root import Scenario

Subject = Literal["device", "server", "mean_model"]
TEST_DATA = ("global_test", "own_test", "own_classes", "own_view", "own_scale", "train")
SCALE = "scale_[1-9][0-9]{0,5}"


def is_test_data(word: str) -> bool:
    """One of `TEST_DATA`, or "scale_16"."""
    return word in TEST_DATA or re.fullmatch(SCALE, word) is not None


def _test_data(word: str) -> str:
    if not is_test_data(word):
        accepts = f'accepted are {", ".join(map(shown, TEST_DATA))}, and "scale_16" of a control problem'
        raise PydanticCustomError("word", "{says}", {"says": accepts + nearest(word, TEST_DATA)})
    return word


TestData = Annotated[
    str,
    AfterValidator(_test_data),
    WithJsonSchema({"anyOf": [{"enum": list(TEST_DATA)}, {"type": "string", "pattern": f"^{SCALE}$"}]}),
]
Level = Literal["mean", "worst", "p10", "median", "best"]
OverDevices = Literal["mean", "worst", "p10", "median", "best", "std", "disagreement"]

METHOD_DEFAULT = "method_default"
AFTER_LOCAL_TRAINING = "after_local_training"
OWN_DATA = ("own_test", "own_classes", "own_view", "own_scale")
"""Data of which every device has some of its own."""


def scale_of(data: str) -> int | None:
    """The number of objects K of data "scale_K", else None."""
    return int(data.removeprefix("scale_")) if data.startswith("scale_") else None


class Targets(Table):
    """Absolute accuracies, or of a control problem shares of the reference's rate, which may be above 1; met when held for `sustained_evaluations` in a row. What they are measured on is the headline,
    where nothing else is said."""

    accuracy: tuple[q.TargetAccuracy, ...] = ()
    subject: Subject | None = None
    data: TestData | None = None
    over_devices: Level | None = None
    sustained_evaluations: Annotated[int, q.Quantity(1, 1000, "evaluations are whole numbers")] = 1


class Evaluation(Table):
    """When accuracy is measured, and of what; costs no simulated time. Without every_s and every_rounds: after every round.

    subjects: "device": each device's model; "server": the server's; "mean_model": the average of the devices' models, which
        only a genie knows. Not given: the server's, where there is one, and the devices'
    data: "global_test": the common test set; "own_test": of each device, its part of data.local_test_fraction;
        "own_classes": of each device, the samples of the common test set of the classes that it trains on;
        "own_view": of each device, its view of the common test set (data.views), which holds all views of all samples;
        "own_scale", "scale_16": of a control problem ([data] interference_channel and others), the test samples of as many objects as
        the device begins with, or of so many;
        "train": a fixed random subset of the devices' training samples, as many as the common test set has, the same for all.
        With "global_test", results have the generalization gap: train minus test accuracy
    over_devices: "mean", "worst" and "best" device, "median", "p10" (a tenth of the devices is worse), "std";
        "disagreement": root mean square distance of the devices' models to their mean
    counted_devices: of those that come, go and fail: "alive", all that have not failed, with the models that they hold, also
        while they are away; "present", those that are there; "all", also who has failed, with the model that it had
    metrics: what is measured of the devices' representations beside the accuracy of their models, by a genie: accuracies of nearest
        subspaces, nearest neighbors and linear probes, each of which may be the headline (`inference`), and numbers, which are
        recorded as measures. See docs/pages/results.md. A task without a head has no other accuracies: own_subspace_accuracy, if
        nothing is named
    subspace_dim: dimensions of a class's subspace; not given: those of the representation over the number of classes, at most 30
    by_group: also in tables and pictures for each group of devices
    model_time, inference: which of the models that the learner reports is the headline: "after_local_training" instead of
        what the method calls its model; another inference head, or an accuracy among the metrics, by its name
    other_reports: measure the other inference heads beside it, as one does by default; false saves their time
    """

    every_s: q.Seconds | None = None
    every_rounds: q.Rounds | None = None
    charge_time: bool = False
    subjects: tuple[Subject, ...] | None = None
    data: tuple[TestData, ...] = ("global_test",)
    over_devices: tuple[OverDevices, ...] = ("mean", "worst", "p10", "std")
    counted_devices: Annotated[Literal["alive", "present", "all"], Field(exclude_if=lambda value: value == "alive")] = (
        "alive"
    )
    by_group: bool = False
    model_time: str = METHOD_DEFAULT
    inference: str = METHOD_DEFAULT
    other_reports: Annotated[bool, Field(exclude_if=lambda value: bool(value))] = True
    metrics: Annotated[tuple[Metric, ...], Field(exclude_if=lambda value: not value)] = ()
    subspace_dim: Annotated[q.Count | None, Field(exclude_if=left_out)] = None
    targets: Targets = Targets()


def report_name(evaluation: Evaluation) -> str:
    """Of the report that is the headline: "model", "after_local_training", a head, or "head/after_local_training"."""
    parts = [part for part in (evaluation.inference, evaluation.model_time) if part != METHOD_DEFAULT]
    return "/".join(parts) or "model"


def subjects_of(scenario: Scenario) -> tuple[str, ...]:
    """Those that are named, else the server, where there is one and the headline is what the method calls its model, and the
    devices."""
    if scenario.evaluation.subjects is not None:
        return scenario.evaluation.subjects
    return ("server", "device") if scenario.server and report_name(scenario.evaluation) == "model" else ("device",)


def metrics_of(evaluation: Evaluation, has_head: bool) -> tuple[str, ...]:
    """Those that are measured. has_head: whether models can be tested without them."""
    if has_head or any(name in ACCURACIES for name in evaluation.metrics):
        return evaluation.metrics
    return (DEFAULT_ACCURACY, *evaluation.metrics)


def flat_report(reports: Sequence[str], own_metrics: Sequence[str]) -> str | None:
    """The report that representations are of: "model", or, where that is no flat model, the learner's first that is one."""
    names = ("model", *reports)
    return next((name for name in names if name not in own_metrics and AFTER_LOCAL_TRAINING not in name), None)


def check(scenario: Scenario, learner: Any, source: str) -> None:
    """Raise a ScenarioError for the first key that does not go with another.

    learner: the learner's class, of which `reports` and `own_metrics` are used
    """
    evaluation = scenario.evaluation
    if evaluation.every_s is not None and evaluation.every_rounds is not None:
        raise problem(source, ("evaluation",), "give every_s or every_rounds, not both", table=True)
    if evaluation.charge_time:
        says = "evaluation costs no simulated time in this version; false, or leave it out"
        raise problem(source, ("evaluation", "charge_time"), says, value=True)
    _lists(scenario, source)
    check_report(scenario, getattr(learner, "reports", ()), source)
    _metrics(scenario, learner, source)
    _flat_models(scenario, learner, source)
    _targets(scenario, source)


def _lists(scenario: Scenario, source: str) -> None:
    evaluation = scenario.evaluation
    for key in ("subjects", "data", "over_devices", "metrics"):
        values: Sequence[str] | None = getattr(evaluation, key)
        if values is not None and not values and key != "metrics":
            raise problem(source, ("evaluation", key), "is empty; name what to measure, or leave it out", value=values)
        for number, value in enumerate(values or ()):
            if value in (values or ())[:number]:
                raise problem(source, ("evaluation", key, number), "is listed twice", value=value)
    subjects = evaluation.subjects
    if subjects is not None and "server" in subjects and scenario.server is None:
        says = 'needs a [server], which is missing; "device" or "mean_model"'
        raise problem(source, ("evaluation", "subjects", subjects.index("server")), says, value="server")
    for key in ("subjects", "over_devices"):
        for number, value in enumerate(getattr(evaluation, key) or ()):
            if value in ("mean_model", "disagreement") and scenario.model.variants:
                says = "needs one architecture at all devices, and [model] variants gives them several; leave it out"
                raise problem(source, ("evaluation", key, number), says, value=value)
    if "own_test" in evaluation.data and scenario.data.local_test_fraction is None:
        says = "needs [data] local_test_fraction, such as 0.2: the part of its samples that each device tests on"
        raise problem(source, ("evaluation", "data", evaluation.data.index("own_test")), says, value="own_test")
    if "own_view" in evaluation.data and scenario.data.views is None:
        says = "needs [data] views: the crops of all samples that devices see"
        raise problem(source, ("evaluation", "data", evaluation.data.index("own_view")), says, value="own_view")
    if evaluation.data[0] == "train":
        says = 'the first is the headline, which is of samples that nobody trains on; name "global_test" before it'
        raise problem(source, ("evaluation", "data", 0), says, value="train")
    if not any(value in Level.__args__ for value in evaluation.over_devices):  # type: ignore[attr-defined]
        says = f"holds no accuracy; at least one of {', '.join(shown(level) for level in Level.__args__)}"  # type: ignore[attr-defined]
        raise problem(source, ("evaluation", "over_devices"), says, value=evaluation.over_devices)
    if "disagreement" in evaluation.over_devices and subjects is not None and "device" not in subjects:
        says = 'is of the devices\' models; add "device" to subjects'
        where = ("evaluation", "over_devices", evaluation.over_devices.index("disagreement"))
        raise problem(source, where, says, value="disagreement")


def check_report(scenario: Scenario, reports: Sequence[str], source: str) -> None:
    """The chosen model has to be among those that the learner reports, "model" and what its class lists."""
    evaluation, chosen = scenario.evaluation, report_name(scenario.evaluation)
    reports = ["model", *(name for name in reports if name != "model")]
    if chosen in (*reports, *evaluation.metrics) and (chosen in reports or chosen in ACCURACIES):
        return
    if chosen in ACCURACIES:
        says = f"is not among metrics = {shown(evaluation.metrics)}; add it there"
        raise problem(source, ("evaluation", "inference"), says, value=chosen)
    key = "inference" if evaluation.inference != METHOD_DEFAULT else "model_time"
    value = getattr(evaluation, key)
    known = [METHOD_DEFAULT, *reports[1:], *ACCURACIES]
    says = f"{scenario.algorithm.name} reports {', '.join(shown(name) for name in reports)}, not {shown(chosen)}"
    says += f"; {shown(METHOD_DEFAULT)}, or leave it out{nearest(value, known)}"
    raise problem(source, ("evaluation", key), says, value=value)


def _metrics(scenario: Scenario, learner: Any, source: str) -> None:
    """Representations are of devices' flat models."""
    evaluation, reports, own = scenario.evaluation, getattr(learner, "reports", ()), getattr(learner, "own_metrics", ())
    if not evaluation.metrics:
        return
    path = ("evaluation", "metrics")
    if flat_report(reports, own) is None:
        says = "are of models that are vectors of all parameters of [model], and "
        says += f"{scenario.algorithm.name} reports none; leave them out"
        raise problem(source, path, says, value=evaluation.metrics)
    check_subjects(scenario, evaluation.metrics, source)


def check_subjects(scenario: Scenario, metrics: Sequence[str], source: str) -> None:
    """Accuracies among the metrics are of devices."""
    subjects = scenario.evaluation.subjects
    if subjects is not None and "device" not in subjects and any(name in ACCURACIES for name in metrics):
        says = f'lacks "device", whose representations {shown(next(name for name in metrics if name in ACCURACIES))} is of; add it'
        raise problem(source, ("evaluation", "subjects"), says, value=subjects)


def _flat_models(scenario: Scenario, learner: Any, source: str) -> None:
    """What is of the mean of models needs flat models, which a report that brings its own metric along is not."""
    own, evaluation = getattr(learner, "own_metrics", ()), scenario.evaluation
    if report_name(evaluation) not in own:
        return
    flat = [name for name in getattr(learner, "reports", ()) if name not in own and AFTER_LOCAL_TRAINING not in name]
    instead = f", or inference = {shown(flat[0])}" if flat else ""
    for key in ("subjects", "over_devices"):
        for number, value in enumerate(getattr(evaluation, key) or ()):
            if value in ("mean_model", "disagreement"):
                says = f"is of models that are vectors of parameters, and what {scenario.algorithm.name} reports as "
                says += f"{shown(report_name(evaluation))} is not one; leave it out{instead}"
                raise problem(source, ("evaluation", key, number), says, value=value)


def _targets(scenario: Scenario, source: str) -> None:
    evaluation, targets = scenario.evaluation, scenario.evaluation.targets
    for number, (low, high) in enumerate(pairwise(targets.accuracy)):
        if low >= high:
            path = ("evaluation", "targets", "accuracy", number + 1)
            raise problem(source, path, "targets have to increase", value=high)
    for key, listed in (
        ("subject", ("device",) if report_name(evaluation) in ACCURACIES else subjects_of(scenario)),
        ("data", evaluation.data),
        ("over_devices", evaluation.over_devices),
    ):
        value = getattr(targets, key)
        if value is not None and value not in listed:
            name = "subjects" if key == "subject" else key
            says = f"is not measured; [evaluation] {name} = {shown(listed)}"
            raise problem(source, ("evaluation", "targets", key), says, value=value)
