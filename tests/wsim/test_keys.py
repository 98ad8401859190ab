"""Own keys: read from declarations, values converted to the declared types, unknown and foreign keys told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import pytest

from learners.quantities import Bounds, Width
from tests.wsim.test_scenario import RING
from wsim.errors import ScenarioError
from wsim.scenario import Loaded, load_text
from wsim.scenario.conversion import Misfit, fit, words
from wsim.scenario.keys import REQUIRED, description, keys_of
from wsim.study.plan import plan

if TYPE_CHECKING:
    from nowhere import Task

Rate = Annotated[float, Bounds(0.0, 1.0, "rates are fractions", typical=(0.01, 0.5), above=True)]


@dataclass(frozen=True)
class Base:
    """shared: of all of them. several, others: said of both."""

    task: Task
    codec: Any
    num_rounds: int | None
    shared: int = 1


@dataclass(frozen=True)
class Derived(Base):
    """rate: a fraction
    over two lines, 0 .. 1. last: the end
    layers: none
    or more, of any width
    """

    rate: Rate = 0.5
    layers: tuple[Width, ...] = (3,)
    many: list[int] = field(default_factory=list)
    last: str | None = None
    hidden: ClassVar[int] = 3
    kept: int = field(default=0, init=False)


def function(labels: Any, num_devices: int, rng: Any, first: int, *, second: str = "x", untyped=3) -> None:  # type: ignore[no-untyped-def]
    """first: comes first."""


class Plain:
    def __init__(self, input_shape: Sequence[int], num_classes: int, hidden: Sequence[Width] = (64,)) -> None:
        """hidden: widths."""


def test_keys_of_a_dataclass_are_its_fields_and_those_of_its_bases() -> None:
    keys = keys_of("learner", Derived)
    assert list(keys) == ["shared", "rate", "layers", "many", "last"]
    assert [keys[name].default for name in keys] == [1, 0.5, (3,), [], None]
    assert keys["rate"].hint == Rate


def test_keys_of_functions_and_constructors_are_their_parameters() -> None:
    keys = keys_of("partition", function)
    assert [(key.name, key.hint, key.default) for key in keys.values()] == [
        ("first", int, REQUIRED),
        ("second", str, "x"),
        ("untyped", Any, 3),
    ]
    assert list(keys_of("model", Plain)) == ["hidden"]


def test_descriptions_are_read_from_docstrings() -> None:
    assert description(Derived, "rate") == "a fraction over two lines, 0 .. 1"
    assert description(Derived, "last") == "the end", "and not what is said of the next key"
    assert description(Derived, "shared") == "of all of them"
    assert description(Derived, "several") == description(Derived, "others") == "said of both"
    assert description(Derived, "layers") == "none or more, of any width"
    assert description(Derived, "nothing") == ""


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (3, float | None, 3.0),
        ("none", float | None, None),
        ("none", str | None, "none"),
        ("none", Literal["none", "all"] | None, "none"),
        ("auto", Literal["auto"] | float, "auto"),
        (2, Literal["auto"] | float, 2.0),
        (True, bool, True),
        ((1, 2), tuple[int, ...], (1, 2)),
        ((1, 2), list[float], [1.0, 2.0]),
        ((1, "a"), tuple[int, str], (1, "a")),
        ((1, 2), Sequence[Width], (1, 2)),
        (((1, 2), (3,)), tuple[tuple[int, ...], ...], ((1, 2), (3,))),
        ({"a": 1}, dict[str, int], {"a": 1}),
        (0.5, Annotated[float | None, Bounds(0, 1, "x")], 0.5),
        ("none", Annotated[float | None, Bounds(0, 1, "x")], None),
        ("anything", Any, "anything"),
    ],
)
def test_values_are_converted_to_the_declared_type(value: Any, hint: Any, expected: Any) -> None:
    found = fit(value, hint)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "hint", "path", "says"),
    [
        (1.5, int, (), "has to be a whole number"),
        (True, int, (), "has to be a whole number"),
        (True, float, (), "has to be a number"),
        (2**60, float, (), "has to be a number"),
        ("2", float | None, (), "has to be a number"),
        ("none", float, (), "has to be a number"),
        ("unicats", Literal["unicast", "broadcast"], (), 'has to be "unicast" or "broadcast" (unicast?)'),
        (1, Literal[True], (), "has to be true"),
        ("autp", Literal["auto"] | float, (), 'has to be "auto" or a number (auto?)'),
        (3, tuple[int, ...], (), "has to be an array of whole numbers"),
        ((1, 2.5), tuple[int, ...], (1,), "has to be a whole number"),
        ((1, 2, 3), tuple[int, int], (), "has 3 entries, has to be an array of 2 whole numbers"),
        (((1, 2), (3, "x")), tuple[tuple[int, ...], ...], (1, 1), "has to be a whole number"),
        ((4, 0), Sequence[Width], (1,), "layer widths are whole numbers, 1 to 100000"),
        (0.0, Rate, (), "rates are fractions, above 0 and at most 1"),
        (50.0, Rate, (), "rates are fractions, above 0 and at most 1 (0.05?)"),
        ("x", Rate, (), "has to be a number; rates are fractions, above 0 and at most 1"),
        (3, dict[str, int], (), "has to be a table"),
    ],
)
def test_what_does_not_fit_says_what_would(value: Any, hint: Any, path: tuple[int, ...], says: str) -> None:
    with pytest.raises(Misfit) as caught:
        fit(value, hint)
    assert (caught.value.says, caught.value.path) == (says, path)


def test_types_in_words() -> None:
    assert words(int | Literal["all"] | None) == 'a whole number or "all"'
    assert words(tuple[int, str]) == "an array of 2 entries"


# -- in a scenario ----------------------------------------------------------------------------------------------------

DPSGD = RING.replace('"peers"', '"dpsgd", exchange = "unicast"')


def loaded(*overrides: str) -> Loaded:
    return load_text(DPSGD, overrides, name="ring.toml")


def refusal(*overrides: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        loaded(*overrides)
    return str(caught.value)


def test_defaults_are_completed_in_the_resolved_scenario() -> None:
    resolved = loaded("data={partition='dirichlet', alpha=1}", "model=lenet").scenario.resolved()
    expected = {"test_fraction": 0.2, "alpha": 1.0, "min_samples": 1, "samples_per_device": None}
    assert {key: resolved["data"][key] for key in expected} == expected
    assert "num_features" not in resolved["data"]  # the Gaussian mixture's
    assert (resolved["model"]["hidden"], resolved["model"]["maps"]) == ([120, 84], [6, 16])


def test_keys_of_other_items_are_left_aside_so_that_one_override_switches() -> None:
    base = ("data={partition='dirichlet', alpha=1}", "model={name='lenet', maps=[2, 3]}")
    dealt = {"test_fraction": 0.2, "centered": False, "samples_per_device": None, "stratified": False}
    assert loaded(*base, "data.partition=iid").scenario.data.own == dealt
    assert loaded(*base, "data.name=gaussian_mixture", "model.name=mlp").scenario.data.own["num_features"] == 32
    assert loaded(*base, "model.name=mlp").scenario.model.own == {"hidden": (64,)}


SKEWED = RING.replace("[[devices]]", "[data]\npartition = 'dirichlet'\nalpha = 0.5\n[[devices]]", 1)
IDLE = RING.replace("[[devices]]", "[data]\nalpha = 0.5\n[[devices]]", 1)
IDLE_STUDY = (
    IDLE.replace('"peers"', '"dpsgd", exchange = "unicast"')
    + '[study]\naxes = { "data.partition" = ["iid", "dirichlet"] }\n'
)


@pytest.mark.parametrize(
    ("text", "overrides", "begins"),
    [
        (IDLE, [], "ring.toml [data] alpha = 0.5: "),
        (RING, ["data.alpha=0.5"], "--set data.alpha=0.5: ring.toml [data] alpha = 0.5: "),
        (SKEWED, ["data.partition=iid", "data.alpha=1"], "--set data.alpha=1: ring.toml [data] alpha = 1: "),
        (IDLE, ["scenario.name=dirichlet"], "ring.toml [data] alpha = 0.5: "),  # a name of the user's own
    ],
)
def test_a_key_of_an_item_that_nobody_chooses_is_refused(text: str, overrides: list[str], begins: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        load_text(text, overrides, name="ring.toml")
    says = 'is a key of dirichlet, equal_dirichlet, and partition = "iid"; leave it out, or choose one of them'
    assert str(caught.value) == begins + says


def test_a_study_may_choose_it_at_other_points(tmp_path: Path) -> None:
    file = tmp_path / "ring.toml"
    file.write_text(IDLE_STUDY)
    for overrides, alpha in (((), 0.5), (("data.alpha=2",), 2.0)):
        owns = [cell.loaded.scenario.data.own for cell in plan(file, overrides).cells]
        assert [own.get("alpha") for own in owns] == [None, alpha]
    file.write_text(IDLE_STUDY.replace('"dirichlet"]', '"quantity_skew"]'))
    with pytest.raises(ScenarioError, match=r"\[data\] alpha = 0.5: is a key of dirichlet"):
        plan(file)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("data.alpah=1",), "[data] alpah = 1: unknown key of digits with iid"),
        (
            ("data.partition=dirichlet", "data.alpah=1"),
            "unknown key of digits with dirichlet (alpha?), known: alpha, ",
        ),
        (("data.alpha=high",), '[data] alpha = "high": has to be a number'),  # not even of the partition that is named
        (("data.partition=dirichlet",), "[data] alpha: this key is missing; dirichlet needs a number"),
        (
            ("data.partition=dirichlt",),
            '[data] partition = "dirichlt": unknown partition (dirichlet?), known: class_lists',
        ),
        (("data.name=digit",), '[data] name = "digit": unknown data set (digits?), known: cifar10'),
        (("model.hidden=[64, 0]",), "[model] hidden.1 = 0: layer widths are whole numbers, 1 to 100000"),
        (
            ("model.hiden=[64]",),
            "[model] hiden = [64]: unknown key of mlp (hidden?), known: hidden, name, same_initial",
        ),
        (("codec.bitss=3",), "[codec] bitss = 3: unknown key of float32, known: name"),
        (("algorithm.clients_per_round=3",), "[algorithm] clients_per_round = 3: unknown key of dpsgd"),  # FedAvg's
        (("data.name=gaussian_mixture", "data.num_samples=12"), "[data] num_samples = 12: num_classes = 10 need"),
        (
            ("data.name=gaussian_mixture", "model=lenet"),
            '[model] name = "lenet": needs images (channels, height, width); input_shape = (32,) of data gaussian_mixture',
        ),
        (("data={partition='classes_per_device', classes=11}",), "[data] classes = 11: between 1 and 10"),
        (("data={partition='classes_per_device', classes=1}",), "[data] classes = 1: 6 devices cannot hold all 10"),
        (("devices.0.count=2000",), "[data]: 2002 devices cannot share 1438 training samples"),
        (("algorithm={name='dpsgd', local_steps=1, local_epochs=1}",), "[algorithm] local_steps = 1: give exactly one"),
    ],
)
def test_what_is_wrong_names_the_key(overrides: tuple[str, ...], message: str) -> None:
    found = refusal(*overrides)
    assert "ring.toml" in found
    assert message in found
