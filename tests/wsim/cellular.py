"""Several cells for tests of the air: stations and devices at given places in free space, rates that follow by hand."""

from __future__ import annotations

from collections.abc import Sequence

from tests.wsim.builders import _BASE, _GROUP, ToyCell, power_dbm
from wsim.scenario import Loaded, load_text

Place = tuple[float, float]


def cells(
    stations_m: Sequence[Place],
    devices_m: Sequence[Place],
    *changes: str,
    mac: str = "fdma",
    snr_db: float = 10.0,
    server_snr_db: float = 10.0,
    keys: str = 'interference = "none"',
    seed: int = 1,
    referenced: dict[str, str] | None = None,
) -> Loaded:
    """Stations and devices on the ground. snr_db: a device's over the whole band at 100 m; server_snr_db: a station's."""
    stations = [[x, y, 0.0] for x, y in stations_m]
    groups = [
        _GROUP % (f"d-{i}", 1, f"positions_m = [[{x}, {y}, 0.0]]", power_dbm(snr_db))
        for i, (x, y) in enumerate(devices_m)
    ]
    text = (
        f'topology = "star"\nmac = "{mac}"\n'
        f'cells = {{ layout = "positions", positions_m = {stations}, {keys} }}\n'
        f"[server]\nradio = {{ tx_power_dbm = {power_dbm(server_snr_db)!r} }}\n"
    )
    return load_text(_BASE + text + "".join(groups), changes, seed, learner=ToyCell, referenced=referenced)


def walking(loaded_changes: Sequence[str], device: int, file: str) -> list[str]:
    """Changes that make a device follow a trace file."""
    where = f"devices.{device}"
    return [*loaded_changes, f'{where}.mobility={{kind="trace", file="{file}"}}', f'{where}.positions_m="none"']
