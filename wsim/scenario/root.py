"""The whole scenario."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from wsim.scenario.cells import Cells
from wsim.scenario.evaluation import Evaluation
from wsim.scenario.learning import (
    Algorithm,
    Codec,
    Data,
    Identity,
    Model,
    Observation,
    Output,
    Seeds,
    Stop,
    Task,
    Topology,
)
from wsim.scenario.radio import Channel, Mac, Phy, Transport
from wsim.scenario.study import Study
from wsim.scenario.table import Table
from wsim.scenario.world import Area, DeviceGroup, Server


class Scenario(Table):
    """A validated scenario: every table of the file, `like` resolved and defaults filled in. Immutable."""

    scenario: Identity
    seeds: Seeds = Seeds()
    stop: Stop
    dtype: Literal["float32", "float64"] = "float32"
    area: Area
    data: Data = Data()
    task: Annotated[Task, Field(exclude_if=lambda value: value == Task())] = Task()
    model: Model = Model()
    codec: Codec = Codec()
    topology: Topology  # where there is a [server]: a star, if nothing else is said
    server: Annotated[Server | None, Field(description='a table, or "none"')] = None
    cells: Annotated[Cells | None, Field(description='a table, or "none"')] = None
    devices: Annotated[tuple[DeviceGroup, ...], Field(min_length=1)]
    channel: Channel
    phy: Phy = Phy()
    mac: Mac
    transport: Transport = Transport()
    algorithm: Algorithm
    observation: Observation = Observation()
    evaluation: Evaluation = Evaluation()
    output: Output = Output()
    study: Study | None = None

    @model_validator(mode="before")
    @classmethod
    def _cell_is_a_star(cls, data: Any) -> Any:
        if isinstance(data, dict) and "topology" not in data and data.get("server", "none") != "none":
            return {**data, "topology": "star"}
        return data

    @property
    def num_devices(self) -> int:
        return sum(group.count for group in self.devices)

    def seed_of(self, part: Literal["data", "radio", "learner"]) -> int:
        """The seed of one part of the world: its own where [seeds] names one, else the scenario's."""
        own: int | None = getattr(self.seeds, part)
        return self.scenario.seed if own is None else own

    def resolved(self) -> dict[str, Any]:
        """Everything that a run depends on, defaults included, as plain JSON-able values: all but [study].

        What came after the first results and is off by default is left out where it is off, so that results stay equal."""
        values = self.model_dump(mode="json", exclude={"study"})
        if self.cells is None:
            del values["cells"]
        if not self.channel.interference_over_thermal_db:
            del values["channel"]["interference_over_thermal_db"]
        for model in (values["model"], *values["model"]["variants"]):
            if model["name"] == "resnet20" and model.get("norm") == "group":
                del model["norm"]
        for key in ("centered", "stratified"):
            if not values["data"].get(key, True):
                del values["data"][key]
        if values["mac"].get("interference") == "none":
            del values["mac"]["interference"]
        if not values["mac"].get("capture", True):
            del values["mac"]["capture"]
        if values["algorithm"].get("selection") == "random":
            del values["algorithm"]["selection"], values["algorithm"]["fairness_rounds"]
        for key in ("candidates_per_round", "report_deadline_s"):
            if values["algorithm"].get(key, 0) is None:
                del values["algorithm"][key]
        if values["algorithm"].get("local_optimizer") == "sgd":
            del values["algorithm"]["local_optimizer"]
        if values["algorithm"].get("units") == "first":
            del values["algorithm"]["units"]
        if values["algorithm"].get("class_shares") == "own":
            del values["algorithm"]["class_shares"]
        if values["algorithm"].get("late") == "discard":
            del values["algorithm"]["late"]
        if values["algorithm"].get("downlink_codec") == "auto":
            del values["algorithm"]["downlink_codec"]
        if values["algorithm"].get("uplink") in ("digital", "aircomp"):
            values["algorithm"].pop("rank", None)
        if values["codec"].get("zeros") == "plus":
            del values["codec"]["zeros"]
        if values["algorithm"].get("bias_correction") == "none":
            del values["algorithm"]["bias_correction"]
        if not self.output.sinr:
            del values["output"]["sinr"]
        return values
