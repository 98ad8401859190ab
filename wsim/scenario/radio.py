"""The air: channel, physical layer, medium access, transport."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from wsim.scenario import quantities as q
from wsim.scenario.table import ItemTable, Table, left_out


class PathLoss(ItemTable):
    """The mean attenuation by distance; the own keys are those of the model."""

    shorthand: ClassVar[str | None] = "kind"
    items: ClassVar[Mapping[str, str]] = {"kind": "path_loss"}
    kind: str


class Shadowing(Table):
    """Log-normal shadowing, a field over space for each site. standard: the numbers are those of the path loss's own source, with
    and without line of sight and indoors; tr38901_umi: those of that standard, without its numbers for indoor devices."""

    shorthand: ClassVar[str | None] = "kind"
    kind: Literal["none", "lognormal", "standard", "tr38901_umi"] = "none"
    sigma_db: q.SpreadDb | None = None  # lognormal
    correlation_m: q.DistanceM | None = None  # lognormal: where the autocorrelation is 1/e

    @model_validator(mode="before")
    @classmethod
    def _table_means_lognormal(cls, data: Any) -> Any:
        if isinstance(data, dict) and "kind" not in data and "sigma_db" in data:
            return {"kind": "lognormal", **data}
        return data


class Fading(ItemTable):
    """Small-scale fading; the own keys are those of the law.

    With a delay_profile the band is frequency-selective: it is looked at in num_blocks resource blocks, over which a transfer's
    rate is the mean. That mean is right on average for any number of blocks; 12 meet every single link's rate (Rayleigh, 10 dB)
    within 0.7 % r.m.s. where bandwidth_hz * delay_spread_s is 1, and within 5 % where it is 2, as at 20 MHz and 100 ns. A wider
    band needs more, 6 * bandwidth_hz * delay_spread_s of them; fewer are noted in the result."""

    shorthand: ClassVar[str | None] = "kind"
    items: ClassVar[Mapping[str, str]] = {"kind": "fading"}
    kind: str = "none"
    delay_profile: Annotated[
        Literal["exponential", "tdl_a", "tdl_b", "tdl_c", "tdl_d", "tdl_e"] | None, Field(exclude_if=left_out)
    ] = None  # TDL-A to E of TR 38.901; none: the band is flat
    delay_spread_s: Annotated[q.DelaySpreadS | None, Field(exclude_if=left_out)] = None  # r.m.s., of the delay_profile
    num_blocks: Annotated[q.Blocks | None, Field(exclude_if=left_out)] = None  # of equal width; 12 with a delay_profile

    @model_validator(mode="before")
    @classmethod
    def _a_profile_has_blocks(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("delay_profile", "none") not in (None, "none"):
            return {"num_blocks": 12} | data
        return data


class ForcedLoss(Table):
    """A controlled loss on top of the radio's own, in bursts of `mean_burst_packets` (1: independent)."""

    unit: Literal["packet", "message"] = "packet"
    rate: q.LossRate = 0.0
    mean_burst_packets: q.Burst = 1.0


class Channel(Table):
    carrier_hz: q.CarrierHz
    bandwidth_hz: q.BandwidthHz  # FDD: in each direction
    path_loss: PathLoss = PathLoss(kind="free_space")
    los: Literal["field", "always", "never"] = "field"  # path losses with a line-of-sight state
    shadowing: Shadowing = Shadowing()
    fading: Fading = Fading()
    forced_loss: ForcedLoss = ForcedLoss()
    interference_over_thermal_db: q.MarginDb = (
        0.0  # what cells that are not simulated add to the noise at all receivers
    )


class Phy(Table):
    """Rate: (1 - overhead) * bandwidth * min(log2(1 + snr / gap), max_efficiency), 0 below `min_snr_db`.

    preamble_snr_db: a receiver whose SINR is below this when an attempt begins does not lock on to it and receives nothing
        of it. min_snr_db is what a sender knows (it does not send below it), this is what a receiver needs
    """

    duplex: Literal["fdd", "tdd"] = "fdd"
    tdd_pattern: Annotated[str, Field(pattern=r"^[DSU]{1,80}$", description="slots: D, S and U only")] = "DDDSU"
    special_slot_symbols: tuple[q.Symbols, q.Symbols, q.Symbols] = (10, 2, 2)  # of an S slot: down, guard, up
    overhead: q.Overhead = 0.25
    snr_gap_db: q.MarginDb = 3.0
    max_efficiency_bps_hz: q.EfficiencyBpsHz = 7.4  # 256-QAM, code rate 948/1024
    min_snr_db: q.SnrDb = -10.0
    preamble_snr_db: Annotated[q.SnrDb | None, Field(exclude_if=left_out)] = None  # not given: all lock on
    rate: Literal["adaptive", "fixed"] = "adaptive"
    fixed_efficiency_bps_hz: q.EfficiencyBpsHz | None = None  # fixed: before overhead


class Mac(ItemTable):
    """Medium access; the own keys are those of the kind."""

    shorthand: ClassVar[str | None] = "kind"
    items: ClassVar[Mapping[str, str]] = {"kind": "mac"}
    kind: str
    level: Literal["fluid"] = "fluid"
    broadcast_rate_bps: q.BitRate | None = None
    broadcast_reach: q.Share = 0.9  # without a rate: the share of intended receivers, by mean SNR, that must decode
    latency_s: q.SecondsOrZero = 0.0  # added to every delivery

    @model_validator(mode="after")
    def _one_broadcast_rule(self) -> Mac:
        if self.broadcast_rate_bps is not None and "broadcast_reach" in self.model_fields_set:
            raise PydanticCustomError("rule", "give broadcast_rate_bps or broadcast_reach, not both")
        return self


class Transport(Table):
    """Segmentation into packets and what happens to lost ones. default: arq for unicast, none for broadcast."""

    mtu_bytes: q.Bytes = 1500  # with header_bytes
    header_bytes: q.BytesOrZero = 44  # IP and UDP 28, our own 16
    reliability: Literal["default", "arq", "none", "nack", "fountain"] = "default"
    partial: Literal["drop", "use"] = "drop"  # an incomplete message: lost, or used with a mask of what arrived
    expires_s: q.Seconds | None = None  # what has not arrived by then is dropped
    feedback_bytes: q.BytesOrZero = 52  # an acknowledgement on the air
    max_attempts: q.Attempts = 100

    @model_validator(mode="after")
    def _room_for_data(self) -> Transport:
        if self.header_bytes >= self.mtu_bytes:
            raise PydanticCustomError(
                "rule",
                "header_bytes = {header} leaves no room for data in mtu_bytes = {mtu}",
                {"header": self.header_bytes, "mtu": self.mtu_bytes},
            )
        return self
