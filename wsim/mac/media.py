"""The media of a scenario: which medium carries a message from here to there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsim.mac.ideal import IdealMedium
from wsim.mac.shared import SharedCarrier
from wsim.mac.transfer import Medium

if TYPE_CHECKING:
    from wsim.mac.air_watch import AirWatch
    from wsim.transport import Transport


class Media:
    """uplink carries what the devices 0 .. num_devices - 1 send, downlink what base stations send; without a cell they are the same."""

    def __init__(self, uplink: Medium, downlink: Medium, num_devices: int, bandwidth_hz: float) -> None:
        self._uplink = uplink
        self._downlink = downlink
        self._num_devices = num_devices
        self._bandwidth_hz = bandwidth_hz
        self._all = [uplink] if uplink is downlink else [uplink, downlink]
        self.sharing: SharedCarrier | None = None

    def watch(self, watch: AirWatch) -> None:
        """Tell it of all that is on the air. Raises ValueError for a medium that cannot."""
        for medium in self._all:
            if not hasattr(medium, "watch"):
                raise ValueError(
                    "[mac] kind: this medium access does not tell the SINRs of what is on the air, which [output] sinr and "
                    "[phy] preamble_snr_db need; leave them out"
                )
            medium.watch = watch

    def of(self, sender: int) -> Medium:
        return self._downlink if sender >= self._num_devices else self._uplink

    def drained_bits(self, time_ns: int) -> float:
        return sum(medium.drained_bits(time_ns) for medium in self._all)

    def book_stalls(self) -> None:
        for medium in self._all:
            medium.book_stalls()

    def topology_changed(self) -> None:
        for medium in self._all:
            medium.topology_changed()

    def before_power_change(self, node: int) -> None:
        for medium in self._all:
            medium.before_power_change(node)

    def power_changed(self, node: int) -> None:
        for medium in self._all:
            medium.power_changed(node)

    def can_progress(self, transport: Transport) -> bool:
        """Something is on its way that will arrive by itself."""
        return transport.waits or any(medium.can_progress() for medium in self._all)

    def notes(self) -> list[str]:
        """What the user should know about the spectrum that was used."""
        if isinstance(self._uplink, IdealMedium) and self._uplink.peak_links > 1:
            return [self._spectrum("ideal medium access", self._uplink.peak_links)]
        if self.sharing is not None and self.sharing.orthogonal and self.sharing.peak_concurrent > 1:
            return [self._spectrum("orthogonal_links", self.sharing.peak_concurrent)]
        return []

    def _spectrum(self, what: str, num_links: int) -> str:
        total_mhz = num_links * self._bandwidth_hz / 1e6
        return f"{what}: up to {num_links} links at once, each with its own band: {total_mhz:,.2f} MHz of spectrum"
