"""Small scenarios in which every registered learner faces the same problems.

A learner joins by being listed in `learners.registry.LEARNERS`: what it needs (a server, a deadline) is read off its class.
`KEYS` holds what a scenario has to say beyond that for one learner to run at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from learners import registry
from wsim.scenario import Loaded, load_text

KEYS: dict[str, list[str]] = {
    "fd": ["transport.mtu_bytes=60"],  # its messages are small: several packets each
    "fedgh": [
        "algorithm.server_learning_rate=2.0"
    ],  # one pass over a few rows a round: the default takes hundreds of rounds
    # samples that all have; and short work at the start, which is as long as many rounds
    "fedmd": [
        "data.public_fraction=0.2",
        "algorithm.public_epochs=1",
        "algorithm.private_epochs=1",
        "algorithm.scores_per_round=20",
    ],
    "feddf": ["data.public_fraction=0.2", "algorithm.distill_steps=5"],
    "fedkd": ["algorithm.compression=none"],  # else its bits depend on what is learned, and no estimate is exact
    "sgp": ["codec.name=float32"],  # its sums make up for losses, and no codec may round them
    "d2": ["algorithm.form=exact_diffusion"],  # the ring of 6 is none for D2
    "fedbuff": ["algorithm.buffer_size=6"],  # a round is an update of each device
    # encoders, and few samples a class in an uneven split
    "semantic_mcr2": [
        'model={name="bias_mlp", hidden=[8], feature_dim=12}',
        "algorithm.least_class_samples=1",
        "algorithm.local_optimizer=sgd",  # tests set rates that are none for Adam
        "devices.0.compute.effective_flops=3e7",  # it passes over all samples and makes second moments of what is rounded; and its messages are larger
        "channel.bandwidth_hz=1e6",
    ],
    # as above, and subspaces that fit into 12 dimensions
    "compositional_mcr2": [
        'model={name="bias_mlp", hidden=[8], feature_dim=12}',
        "algorithm.basis_dim=2",
        "algorithm.joint_dim=3",
        "algorithm.local_optimizer=sgd",
        "devices.0.compute.effective_flops=3e7",
    ],
    # as semantic_mcr2, and two classes a device, so that it needs clusters
    "semantic_mcr2_clusters": [
        'model={name="bias_mlp", hidden=[8], feature_dim=12}',
        'data={name="gaussian_mixture", num_samples=400, num_features=8, num_classes=4, separation=3.0, partition="classes_per_device", classes=2}',
        "algorithm.least_class_samples=1",
        "algorithm.local_optimizer=sgd",
        "devices.0.compute.effective_flops=3e7",
        "channel.bandwidth_hz=1e6",
        "topology.kind=complete",
        'evaluation.metrics=["pooled_subspace_accuracy"]',
        "evaluation.inference=pooled_subspace_accuracy",
    ],
    "hierfavg": [
        'cells={layout="positions", positions_m=[[-20.0, 0.0], [20.0, 0.0]], backhaul_latency_s=0.001}',
        "mac.kind=fdma",
    ],
    # the links of the world itself; one block of tests, at the end of what runs take
    "closed_loop": [
        'data={name="observed_links", max_scale=3, snapshot_every_s=0.1, update_every_s=0.5, horizon_s=4.0, test_blocks=1, gap_s=0.1, test_samples=20}',
        'model={name="edge_equivariant", hidden=[8]}',
    ],
    # a tree; and missing sums filled with what has been learned: "initial" pulls back to the common start, by as much as is missing
    "relay_sgd": ["topology.kind=chain", "algorithm.fill=own"],
}
"""Learner -> overrides of its own, beyond those below; none is the rule."""


class Variant(NamedTuple):
    """keys: overrides behind those of the learner itself. attributes: what is otherwise than its class says."""

    learner: str
    keys: list[str]
    attributes: dict[str, bool]


VARIANTS: dict[str, Variant] = {
    "fedkd svd": Variant("fedkd", ["algorithm.compression=svd", "codec.name=float32"], {"uses_parts": False}),
}
"""Forms of a learner that send other messages, by names that `calm`, `harsh`, `says` and `has_key` know: for the contract tests in
which that matters."""

BATCH_SIZE = 16
OF_LINKS = [name for name in sorted(registry.LEARNERS) if getattr(registry.load("learner", name), "needs_links", False)]
"""Those that decide about the links that they run over, which are their data: they take part where no samples to classify are needed."""
LEARNERS = [name for name in sorted(registry.LEARNERS) if name not in OF_LINKS]


def every_other(names: Sequence[str], first: int) -> list[Any]:
    """Cases by learner, of which every other one is slow: of two tests with first = 0 and 1 each learner has one in the default suite."""
    return [
        pytest.param(name, marks=() if (LEARNERS.index(name) + first) % 2 == 0 else pytest.mark.slow) for name in names
    ]


def kind_of(learner: str) -> type:
    """The class of a learner, or of that which a variant is of."""
    kind: type = registry.load("learner", VARIANTS[learner].learner if learner in VARIANTS else learner)
    return kind


def says(learner: str, attribute: str, otherwise: bool) -> bool:
    """What the learner's class, or its variant, says of itself."""
    own = VARIANTS[learner].attributes if learner in VARIANTS else {}
    return bool(own.get(attribute, getattr(kind_of(learner), attribute, otherwise)))


SENDERS = [name for name in LEARNERS if says(name, "sends", True)]
"""Those that send messages; the others are references."""
MANY = [name for name in LEARNERS if not says(name, "pools_samples", False)]
"""Those in which many devices train."""

CALM = """
# Nothing is lost, nobody moves: what happens is what the algorithm asks for.

dtype = "float64"

[scenario]
name = "calm"

[stop]
rounds = 5

[area]
shape = "square"
side_m = 100.0

[data]
name = "gaussian_mixture"
num_samples = 400
num_features = 8
num_classes = 4
separation = 3.0

[model]
name = "mlp"
hidden = [8]

[[devices]]
name = "devices"
count = 6
compute = { effective_flops = 1e6, spread = "lognormal" }
radio = { tx_power_dbm = 20.0 }

[channel]
carrier_hz = 3.5e9
bandwidth_hz = 1e6

[mac]
kind = "ideal"
broadcast_reach = 1.0
"""

HARSH = """
# Everybody walks, every link fades, every tenth packet is lost on top, and the last round may end in the middle of things.

[scenario]
name = "harsh"

[stop]
rounds = 6

[area]
shape = "square"
side_m = 120.0

[data]
name = "gaussian_mixture"
num_samples = 400
num_features = 8
num_classes = 4
partition = "dirichlet"
alpha = 0.3

[model]
name = "mlp"
hidden = [8]

[codec]
name = "float16"

[[devices]]
name = "walkers"
count = 6
mobility = { kind = "random_waypoint", speed_mps = [1.0, 3.0], pause_s = [0.0, 1.0] }
compute = { effective_flops = 3e5, spread = "lognormal", jitter = "lognormal", active_w = 0.15 }
radio = { tx_power_dbm = 10.0 }

[channel]
carrier_hz = 3.5e9
bandwidth_hz = 200e3
path_loss = { kind = "log_distance", exponent = 3.0 }
shadowing = { sigma_db = 4.0, correlation_m = 20.0 }
fading = { kind = "rayleigh", correlation = "doppler" }
forced_loss = { rate = 0.1, mean_burst_packets = 2.0 }

[transport]
mtu_bytes = 120
partial = "use"

[output]
topology_every_s = 1.0
"""

SERVER = """
[server]
radio = { tx_power_dbm = 40.0, rx_antennas = 2 }
"""


def calm(learner: str, *overrides: str) -> Loaded:
    """A lossless, static world of 6 devices in float64, 5 rounds of 2 local steps."""
    return _scenario(CALM, learner, _with_work(overrides))


def harsh(learner: str, *overrides: str) -> Loaded:
    """A fading, moving, lossy world of 6 devices in float32, 6 rounds."""
    own = ["mac.kind=fdma" if says(learner, "uses_server", False) else "mac.kind=shared"]
    if has_key(learner, "deadline_s"):
        own.append("algorithm.deadline_s=0.5")
    return _scenario(HARSH, learner, [*own, *_with_work(overrides)])


def has_key(learner: str, key: str) -> bool:
    """Whether the learner has this hyper-parameter."""
    return key in {field.name for field in dataclasses.fields(kind_of(learner))}


def _with_work(overrides: tuple[str, ...]) -> list[str]:
    """2 local steps between exchanges, unless the overrides ask for epochs."""
    epochs = any(override.startswith("algorithm.local_epochs") for override in overrides)
    return [*([] if epochs else ["algorithm.local_steps=2"]), *overrides]


def _scenario(text: str, learner: str, overrides: list[str]) -> Loaded:
    variant = VARIANTS.get(learner, Variant(learner, [], {}))
    text += f'\n[algorithm]\nname = "{variant.learner}"\n'
    if says(learner, "uses_server", False):
        text += SERVER + '\n[topology]\nkind = "star"\n'
    else:
        text += '\n[topology]\nkind = "ring"\n'
    if "[mac]" not in text:
        text += "\n[mac]\nkind = 'ideal'\n"
    return load_text(text, [*KEYS.get(variant.learner, []), *variant.keys, *overrides])
