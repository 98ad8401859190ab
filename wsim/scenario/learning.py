"""What is learned, between whom, and how it is measured: data, model, codec, topology, algorithm, evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from wsim.scenario import quantities as q
from wsim.scenario.table import ItemTable, Table, left_out


class Views(Table):
    """Crops of images: device i sees view i modulo their number of all samples that it is dealt, see `learners.data.views`."""

    size: q.Pixels  # the height and the width of a view
    corners: Annotated[
        tuple[tuple[q.PixelsOrZero, q.PixelsOrZero], ...], Field(min_length=1)
    ]  # row and column, a view each


class Data(ItemTable):
    """A data set and how its training part is dealt to the devices; the own keys are those of both."""

    shorthand: ClassVar[str | None] = "name"
    items: ClassVar[Mapping[str, str]] = {"name": "dataset", "partition": "partition"}
    name: str = "digits"
    partition: str = "iid"
    local_test_fraction: q.Fraction | None = None  # of its samples, on which each device tests instead of training
    public_fraction: Annotated[q.Fraction | None, Field(exclude_if=left_out)] = (
        None  # of the training samples: all have them, none is dealt
    )
    views: Annotated[Views | None, Field(exclude_if=left_out)] = None  # of images: each device sees a crop of its own


class Variant(ItemTable):
    """One architecture among several."""

    shorthand: ClassVar[str | None] = "name"
    items: ClassVar[Mapping[str, str]] = {"name": "model"}
    name: str


class Model(ItemTable):
    """The architecture of all nodes; with `variants` that of the server only, where it has a model."""

    shorthand: ClassVar[str | None] = "name"
    items: ClassVar[Mapping[str, str]] = {"name": "model"}
    name: str = "mlp"
    same_initial_weights: bool = True  # false: every node starts from a model of its own
    variants: tuple[Variant, ...] = ()  # dealt to the devices in turn: device i has number i modulo their count


class Task(Table):
    """What training minimizes."""

    objective: Literal["cross_entropy", "coding_rate_reduction"] | None = None  # not given: the learner's first
    distortion: q.Positive | None = None  # eps of the coding rates (0.5)


class Codec(ItemTable):
    """What a payload becomes on the air."""

    shorthand: ClassVar[str | None] = "name"
    items: ClassVar[Mapping[str, str]] = {"name": "codec"}
    name: str = "float32"


class Topology(ItemTable):
    """Who exchanges with whom: the kind and its own keys, exactly the fields of its dataclass (`wsim list topologies`).

    `radio`: who is in range now, by the local mean SNR with hysteresis."""

    shorthand: ClassVar[str | None] = "kind"
    items: ClassVar[Mapping[str, str]] = {"kind": "topology"}
    kind: str
    neighbor_mean_snr_db: q.SnrDb = 8.0  # radio
    hysteresis_db: q.MarginDb = 3.0  # radio: a neighbor is lost this far below
    update_every_s: q.Seconds = 1.0  # radio
    discovery: Literal["genie", "beacon"] = "genie"  # radio
    beacon_every_s: q.Seconds = 1.0  # beacon
    beacon_bytes: q.Bytes = 64  # beacon
    mixing_weights: Literal["metropolis", "uniform", "file"] = "metropolis"
    mixing_matrix: Annotated[str | None, Field(exclude_if=left_out)] = None  # file


class Algorithm(ItemTable):
    """The learner's name, and its own hyper-parameters: exactly the fields of its dataclass."""

    shorthand: ClassVar[str | None] = "name"
    items: ClassVar[Mapping[str, str]] = {"name": "learner"}
    name: str

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything but the name, with the learner's defaults filled in."""
        return self.own


class Stop(Table):
    """The run ends at the first of these that is reached."""

    rounds: q.Rounds | None = None
    simulated_s: q.Seconds | None = None
    air_bits: q.Bits | None = None
    energy_j: q.Joules | None = None  # of all devices together


class Observation(Table):
    """What it costs a device to look at its position, battery or channel."""

    delay_s: q.SecondsOrZero = 0.0
    energy_j: q.JoulesOrZero = 0.0


class Output(Table):
    topology_every_s: q.Seconds | None = None  # not given: positions and edges are kept at the start and the end only
    sinr: bool = False  # keep the SINR of what is on the air, step by step, and the hand-overs


class Seeds(Table):
    """Seeds of parts of the world, where they are not the scenario's own."""

    data: q.Seed | None = None
    radio: q.Seed | None = None
    learner: q.Seed | None = None


FILE_NAME = "names begin with a letter or digit and hold letters, digits, dots, dashes and underscores, at most 100"


class Identity(Table):
    """The [scenario] table. The name becomes the result's file name."""

    shorthand: ClassVar[str | None] = "name"
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description=FILE_NAME)]
    seed: q.Seed = 1
