"""Made-up run records of any size, with curves shaped like those of real runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from wsim.record import ANYONE, ENERGY_USES, LOSS_CAUSES, PROCESSOR_STATES, PROGRAM_STATES, RADIO_STATES, RunRecord
from wsim.series import over_devices

END_S = 118.4
BITS_AT_END = np.array([3.7e8, 3.83e8, 3.95e8])  # payload, coded, on air


def make_record(
    num_devices: int = 20,
    num_evals: int = 60,
    seed: int = 1,
    server: bool = True,
    estimated: bool = False,
    **changes: Any,
) -> RunRecord:
    """A consistent record: the joules, the seconds of each timeline and the ledger add up.

    changes: fields to replace
    """
    rng = np.random.default_rng(seed)
    num_nodes = num_devices + server
    time_s = np.linspace(0, END_S, num_evals)
    share = time_s / END_S
    final = 0.95 + rng.normal(0, 0.012, num_devices)
    rise = 1 - np.exp(-time_s / rng.uniform(6, 14, (num_devices, 1)))
    by_device = np.clip(0.1 + (final[:, None] - 0.1) * rise + rng.normal(0, 0.004, rise.shape), 0, 1).T
    if estimated:
        by_device[:] = np.nan
    reduced = by_device if num_evals else np.empty((0, num_devices))
    own = by_device - rng.uniform(0, 0.05, by_device.shape)
    subjects = ["server", "device", "device"] if server else ["device", "mean_model", "device"]
    data = ["global_test", "global_test", "own_test"]
    measured = _measured(subjects, data, by_device, own, np.arange(num_devices) % 2)
    bits = np.round(BITS_AT_END * share[:, None]).astype(np.int64)
    energy_j = rng.uniform(0.8, 1.2, (num_nodes, len(ENERGY_USES))) * [3.2, 4.9, 1.1, 0.4, 2.4, 0.0]
    device_energy = energy_j[:num_devices].sum(axis=0)
    positions_m = np.zeros((2, num_nodes, 3))
    radius, angle = 300 * np.sqrt(rng.uniform(size=num_nodes)), rng.uniform(0, 2 * np.pi, num_nodes)
    positions_m[:] = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.full(num_nodes, 1.5)], axis=1)
    positions_m[1, :num_devices, :2] += rng.normal(0, 40, (num_devices, 2))
    if server:
        positions_m[:, -1] = (0, 0, 10)
        ends = np.stack([np.arange(num_devices), np.full(num_devices, num_devices)], axis=1)
    else:
        ends = np.stack([np.arange(num_devices), (np.arange(num_devices) + 1) % num_devices], axis=1)
    fields: dict[str, Any] = dict(
        name="quickstart",
        seed=seed,
        learner="fedavg" if server else "dpsgd",
        scenario_text='# A made-up scenario.\r\n[scenario]\nname = "quickstart"  # Grüße, 学习\n',
        overrides=["stop.rounds=60", "codec.name='float16'"],
        resolved={
            "scenario": {"name": "quickstart", "seed": seed},
            "stop": {"rounds": 60, "air_bits": None},
            "x": [1.5, True],
        },
        exact=not estimated,
        estimated=estimated,
        stop_reason="rounds",
        num_devices=num_devices,
        node_names=[f"walkers-{i}" for i in range(num_devices)] + ["server"] * server,
        group=np.arange(num_devices) % 2,
        group_names=["walkers", "slow walkers"],
        num_samples=rng.integers(20, 120, num_devices),
        num_test_samples=rng.integers(2, 30, num_devices),
        effective_flops=rng.lognormal(17, 0.5, num_nodes),
        simulated_s=END_S,
        eval_time_s=time_s,
        eval_round=np.arange(num_evals) + 1,
        accuracy=reduced.mean(axis=1),
        accuracy_worst=reduced.min(axis=1),
        accuracy_p10=np.quantile(reduced, 0.1, axis=1),
        accuracy_std=reduced.std(axis=1),
        accuracy_by_device=by_device.reshape(num_evals, num_devices),
        test_loss=measured["series_loss"][0],
        by_group=False,
        **measured,
        eval_payload_bits=bits[:, 0],
        eval_coded_bits=bits[:, 1],
        eval_on_air_bits=bits[:, 2],
        eval_energy_j=share[:, None] * device_energy,
        eval_devices_present=np.full(num_evals, num_devices),
        eval_devices_failed=np.zeros(num_evals, dtype=np.int64),
        messages_sent=2400,
        messages_delivered_used=2301,
        messages_delivered_unused=42,
        messages_lost=dict.fromkeys(LOSS_CAUSES, 0) | {"deadline": 31, "outage": 6},
        messages_in_flight=20,
        payload_bits=int(BITS_AT_END[0]),
        coded_bits=int(BITS_AT_END[1]),
        on_air_bits=int(BITS_AT_END[2]),
        airtime_s=812.7,
        resource_hz_s=1.27e8,
        sent_bits_by_node=rng.integers(10**6, 10**7, num_nodes),
        packets_sent=33_000,
        packets_lost=512,
        processor_s=_split(rng, num_nodes, [0.3, 0.7], len(PROCESSOR_STATES)),
        radio_s=_split(rng, num_nodes, [0.16, 0.09, 0.02, 0.1, 0.6, 0.0, 0.03], len(RADIO_STATES)),
        program_s=_split(rng, num_nodes, [0.3, 0.5, 0.05, 0.1, 0.01, 0.04], len(PROGRAM_STATES)),
        program_node=np.arange(num_nodes),
        energy_j=energy_j,
        snapshot_time_s=np.array([0.0, END_S]),
        spectral_gap=np.array([0.5, 0.4]),
        positions_m=positions_m,
        edge_snapshot=np.repeat([0, 1], num_devices),
        edges=np.concatenate([ends, ends]),
        targets=np.array([0.8, 0.9, 0.97]),
        target_report="model",
        target_subject=subjects[0],
        target_data="global_test",
        target_level="mean",
        sustained_evaluations=1,
        target_time_s=np.array([17.3, 31.8, np.nan]),
        target_on_air_bits=np.array([5.8e7, 1.06e8, np.nan]),
        target_energy_j=np.array([35.2, 64.6, np.nan]),
        referenced_files={"ring.edges": "0 1\n1 2\n"},
        radio_provenance={"path_loss": "TR 38.901 UMi", "fading": "Rayleigh, sum of sinusoids"},
        channel_provenance={
            "path_loss": "tr38901_umi",
            "path_loss_standard": "3GPP TR 38.901 table 7.4.1-1, UMi street canyon",
            "fading": "rayleigh, doppler",
            "fading_standard": "Rayleigh law",
            "fading_generator": "sum of 16 sinusoids",
            "shadowing": "log-normal, 4 dB over 10 m",
            "shadowing_standard": "Gudmundson",
            "shadowing_field": "sum of 128 plane waves",
            "delay_profile": "none: the band is taken as flat",
            "seed": seed,
            "radio_seed": seed,
            "run_number": 1,
        },
        versions={"wsim": "0.1.0", "numpy": "2.0"},
        notes=["device walkers-3 lies closer than 10 m to the server: UMi loss taken at 10 m"],
        provenance={"wall_s": 2.7, "date": "2026-01-01", "executor": "batched", "window": 4096},
        event_digest="a3" * 32,
        **_sinrs(rng, num_devices, num_nodes),
        **_waits(num_nodes),
        measure_name=["deep_relative_trust", "deep_relative_trust", "own_weight", "own_weight"],
        measure_component=["mean", "largest", "layer 0", "layer 1"],
        **_similarity(rng, num_devices),
        measure_value=_measures(rng, num_evals, num_devices),
    )
    return RunRecord(**(fields | changes))


def _similarity(rng: np.random.Generator, num_devices: int) -> dict[str, Any]:
    """Two test samples of each of three classes."""
    features = rng.standard_normal((6 * num_devices, 4)).astype(np.float32).astype(np.float64)
    labels = np.repeat(np.arange(3), 2 * num_devices)
    devices = np.tile(np.repeat(np.arange(num_devices), 2), 3)
    return {"similarity_features": features, "similarity_label": labels, "similarity_device": devices}


def _measures(rng: np.random.Generator, num_evals: int, num_devices: int) -> np.ndarray:
    """[4, num_evals, num_devices]; device 0 has measured nothing by the first evaluation."""
    values = rng.uniform(0.2, 0.4, (4, num_evals, num_devices))
    values[:2] += np.array([[[2.0]], [[3.0]]]) * np.exp(-np.arange(num_evals) / 10)[:, None]
    values[:, :1, :1] = np.nan
    return values


def _sinrs(rng: np.random.Generator, num_devices: int, num_nodes: int) -> dict[str, np.ndarray]:
    """60 transfers of five steps each, of all devices in turn to the last node (the first, from the last), and four hand-overs."""
    transfer = np.repeat(np.arange(60), 5)
    tx = transfer % num_devices
    rx = np.where(tx == num_nodes - 1, 0, num_nodes - 1)
    return dict(
        sinr_time_s=transfer * 1.5 + np.tile(np.arange(5) * 0.2, 60),
        sinr_duration_s=np.full(300, 0.2),
        sinr_transfer=transfer,
        sinr_tx=tx,
        sinr_rx=rx,
        sinr_db=rng.normal(12.0, 6.0, 300),
        handover_time_s=np.array([3.0, 17.0, 40.0, 41.5]),
        handover_device=np.arange(4) % num_devices,
        handover_station=np.full(4, num_nodes - 1),
    )


def _waits(num_nodes: int) -> dict[str, np.ndarray]:
    """Everybody has waited for the next node and for anyone."""
    node = np.repeat(np.arange(num_nodes), 2)
    return dict(
        wait_node=node,
        wait_awaited=np.where(np.arange(2 * num_nodes) % 2, (node + 1) % num_nodes, ANYONE),
        wait_s=np.linspace(0.5, 20.0, 2 * num_nodes),
        wait_count=5 + node,
        wait_deadline_count=node % 3,
    )


LEVELS = ("mean", "worst", "p10", "best")


def _measured(
    subjects: list[str], data: list[str], by_device: np.ndarray, own: np.ndarray, group: np.ndarray
) -> dict[str, Any]:
    """Series of one model and of the devices', on common and own samples; losses as if all errors were equally wrong."""
    num_evals, num_devices = by_device.shape
    accuracy = np.full((len(subjects), num_evals, num_devices), np.nan)
    accuracy[[i for i, subject in enumerate(subjects) if subject == "device"]] = np.stack([by_device, own])
    accuracy[data.index("own_test")] = own
    loss = 2.3 * (1 - accuracy)
    groups = [group == number for number in (0, 1)]

    def over(values: np.ndarray, losses: bool = False) -> np.ndarray:
        if not values.shape[-1]:
            return np.full((*values.shape[:-1], len(LEVELS)), np.nan)
        return np.stack([over_devices(values, level, losses) for level in LEVELS], axis=-1)

    single = np.where(np.isnan(by_device).all(axis=1), np.nan, by_device.mean(axis=1) + 0.01)
    is_one = np.array([subject != "device" for subject in subjects])[:, None]
    return dict(
        series_report=["model"] * len(subjects),
        series_subject=subjects,
        series_data=data,
        levels=list(LEVELS),
        series_accuracy=np.where(is_one, single, over(accuracy)[..., 0]),
        series_loss=np.where(is_one, 2.3 * (1 - single), over(loss, losses=True)[..., 0]),
        series_accuracy_by_level=over(accuracy),
        series_loss_by_level=over(loss, losses=True),
        series_accuracy_by_group=np.stack([over(accuracy[:, :, members]) for members in groups], axis=2),
        series_accuracy_by_device=accuracy,
        series_loss_by_device=loss,
        series_disagreement=np.where(is_one, np.nan, 10.0 * (1 - by_device.mean(axis=1))),
    )


def _split(rng: np.random.Generator, num_nodes: int, shares: list[float], num_states: int) -> np.ndarray:
    """[num_nodes, num_states] seconds that sum to END_S for every node."""
    assert len(shares) == num_states
    weights = np.array(shares) * rng.uniform(0.6, 1.4, (num_nodes, num_states))
    return END_S * weights / weights.sum(axis=1, keepdims=True)
