"""When a run ends: at the instant at which a limit is met, or with an error where it never would."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wsim.accounts import power_w
from wsim.clock import EVALUATE, NS_PER_S
from wsim.errors import SimulationError

if TYPE_CHECKING:
    from wsim.engine import Run

STOP = EVALUATE + 1  # priority: after everything else of an instant
STARVED_S = 3600


class Limits:
    """`active`: bits or joules are limited, so `watch` has to look before every event."""

    def __init__(self, run: Run) -> None:
        self._run = run
        stop = run.scenario.stop
        self.active = stop.air_bits is not None or stop.energy_j is not None
        self._look_again_ns = -1  # when the limits are looked at once more
        self._drained = 0, 0.0  # when the bits on the air were last seen to grow, and how many there were

    def watch(self) -> None:
        """Bits on the air and joules grow steadily between events: stop at the very instant at which a limit is met."""
        stop, now_ns = self._run.scenario.stop, self._run.clock.now_ns
        if math.isinf(self._run.clock.next_ns()):
            self.stuck()
        next_ns = int(self._run.clock.next_ns())
        if stop.air_bits is not None:
            have = self._run.ledger.on_air_bits
            if have + self._run.media.drained_bits(next_ns) >= stop.air_bits:
                low, high = now_ns, next_ns
                while low < high:
                    middle = (low + high) // 2
                    if have + self._run.media.drained_bits(middle) >= stop.air_bits:
                        high = middle
                    else:
                        low = middle + 1
                self._stop_at(high, "air_bits")
        if stop.energy_j is not None:
            left_j = stop.energy_j - self._run.recorder.device_energy_j()
            devices_w = power_w(self._run.world.power, self._run.processors, self._run.radios, now_ns)[
                : self._run.world.num_devices
            ].sum()
            if left_j <= devices_w * (next_ns - now_ns) / NS_PER_S:
                self._stop_at(now_ns + math.ceil(max(left_j, 0.0) / max(devices_w, 1e-30) * NS_PER_S), "energy_j")

    def _stop_at(self, time_ns: int, reason: str) -> None:
        """Stop then, unless the limit is not met after all (stalls draw less than was thought)."""
        if time_ns <= self._run.clock.now_ns:
            self._run.stop_reason = self._run.stop_reason or reason
        elif not self._run.clock.now_ns < self._look_again_ns <= time_ns:
            self._look_again_ns = time_ns
            self._run.clock.at(time_ns, lambda call: None, None, STOP)

    def stuck(self) -> None:
        """Nobody will ever go on: say who waits for what."""
        raise SimulationError(
            f"nothing can happen any more at {self._run.clock.now_s:.6g} s: {self._run.driver.who_waits()}; a lost or impossible "
            "message needs [algorithm] deadline_s, or a reliable transport"
        )

    def check_stuck(self) -> None:
        """Only recurring events are left: nobody computes or sleeps, nothing is on its way."""
        if (
            self._run.driver.num_timers == 0
            and self._run.driver.main_left
            and not (self._run.presence is not None and self._run.presence.coming)
            and not self._run.media.can_progress(self._run.transport)
        ):
            self.stuck()

    def check_starved(self) -> None:
        """Everybody waits for the air and not a bit has been on it for long: the links are dead, even if they change."""
        now_ns = self._run.clock.now_ns
        drained = self._run.ledger.on_air_bits + self._run.media.drained_bits(now_ns)
        presence = self._run.presence
        somebody = presence is None or presence.devices
        if drained != self._drained[1] or self._run.driver.num_timers > 0 or not somebody:
            self._drained = now_ns, drained
        elif now_ns - self._drained[0] > STARVED_S * NS_PER_S and self._run.driver.main_left:
            raise SimulationError(
                f"no link has carried a bit for {STARVED_S} s of simulated time, at {self._run.clock.now_s:.6g} s: "
                f"{self._run.driver.who_waits()}; move the devices closer, raise tx_power_dbm or lower [phy] min_snr_db"
            )
