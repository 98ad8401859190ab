"""How well unequal devices batch: executor calls under Dirichlet 0.1 against those of the i.i.d. split.

Measured at 20 devices, 10 rounds (calls of a vmapped function; i.i.d., Dirichlet, ratio):

    5 local steps     fedavg 62, 62, 1.0     dpsgd 61, 61, 1.0      gossip 147, 147, 1.0
    2 local epochs    fedavg 112, 312, 2.8   dpsgd 111, 311, 2.8    gossip 272, 959, 3.5

With local epochs the device with the most samples (228 against a mean of 80) takes 30 steps one after the other where an even
split takes 10, and nothing can batch the steps of one device: the longest chain is a lower bound of the calls, and they
stay close to it.
"""

from __future__ import annotations

import math

import pytest

from tests.contract.worlds import BATCH_SIZE, MANY, calm, every_other, has_key
from wsim.engine import simulate
from wsim.record import RunRecord

EPOCHS = 2
SLACK = {"ccl": 1.6, "split_learning": 2.5}
"""Of ccl the steps need the representations of others, one minibatch each, so that they are jobs of their own and no scan: devices
with few steps, which are rounds ahead, meet the longest chain less often. Of split learning the last
batch of an epoch has as many samples as there are, since they are sent, and a shape of its own on every device."""


JOBS_A_CALL = {"fedasync": 1.5, "heterofl": 3, "semantic_mcr2": 1, "semantic_mcr2_clusters": 1, "compositional_mcr2": 1}
"""Of fedasync every update is mixed in alone, and clients that train at the same time have begun with different models; of heterofl
the devices are of three widths; steps that factorize matrices, as those of semantic_mcr2, are calls of their own."""


def split_runs(learner: str, work: str) -> tuple[RunRecord, RunRecord]:
    """The same run on an i.i.d. and on a Dirichlet 0.1 split."""
    keys = [f"algorithm.{work}", "devices.0.count=20", "data.num_samples=2000", "stop.rounds=10"]
    keys += [f"algorithm.batch_size={BATCH_SIZE}", "evaluation.every_rounds=100"]
    even = simulate(calm(learner, *keys, "data.partition=iid"))
    uneven = simulate(calm(learner, *keys, "data.partition=dirichlet", "data.alpha=0.1"))
    return even, uneven


def calls(run: RunRecord) -> int:
    return int(run.provenance["executor_calls"])


def longest_chain(run: RunRecord) -> int:
    """Steps that the device with the most samples takes one after the other, a round."""
    return EPOCHS * math.ceil(int(run.num_samples.max()) / BATCH_SIZE)


@pytest.mark.parametrize("learner", every_other(MANY, 0))
def test_steps_of_a_dirichlet_split_batch_as_well_as_equal_ones(learner: str) -> None:
    even, uneven = split_runs(learner, "local_steps=5")
    assert uneven.num_samples.max() > 2 * even.num_samples.max()
    assert calls(uneven) <= 2 * calls(even)
    jobs = int(even.provenance["executor_jobs"])
    assert calls(even) < jobs / JOBS_A_CALL.get(learner, 5), "nothing was batched"


@pytest.mark.parametrize("learner", every_other([name for name in MANY if has_key(name, "local_epochs")], 1))
def test_epochs_of_a_dirichlet_split_cost_little_more_than_the_longest_chain(learner: str) -> None:
    even, uneven = split_runs(learner, f"local_epochs={EPOCHS}")
    stretch = longest_chain(uneven) / longest_chain(even)
    assert stretch > 2
    assert calls(uneven) <= SLACK.get(learner, 1.3) * stretch * calls(even)
    jobs = int(uneven.provenance["executor_jobs"])
    assert calls(uneven) < jobs / JOBS_A_CALL.get(learner, 2), "nothing was batched"
