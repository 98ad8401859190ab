"""HeteroFL: nested sub-networks, the value of the specification, whole runs against a plain torch loop, and what travels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.batching import BatchStream
from learners.federated.class_flags import FlaggedFragments
from learners.federated.fedavg import FedAvg
from learners.federated.heterofl import HeteroFl, add_held, masked_cross_entropy, mean_of_holders, trained_parameters
from learners.models.flat import unflatten
from learners.models.narrow import Narrow, kept_places, narrowed, rolled
from learners.models.small_cnn import SmallCnn
from learners.protocol import SERVER, Message
from tests.contract.equality import assert_equal_records
from tests.contract.test_estimate import assert_equal_but_for_values
from tests.contract.worlds import calm, harsh
from tests.learners.pair_runs import F64, learner, play, small_digits, vector
from tests.learners.test_algorithm_steps import Hand
from tests.learners.test_fedproto import node_of, small_task
from wsim.engine import Run, simulate
from wsim.errors import ScenarioError

# -- values -----------------------------------------------------------------------------------------------------------


def averaged(w: Tensor, sent: list[tuple[Tensor, list[int]]], shares: Tensor) -> Tensor:
    """Of vectors and the places that they have in w."""
    sums = totals = torch.zeros_like(w)
    for (x, places), share in zip(sent, shares, strict=True):
        ones = [torch.ones(len(x), dtype=torch.bool)]
        sums, totals = add_held(sums, totals, [x], ones, ones, share[None], torch.tensor(places))
    return mean_of_holders(w, sums, totals)


def test_every_entry_is_the_mean_over_those_that_hold_it() -> None:
    """(1, 2, 3, 4), (3, 4) and (8): 12 / 3, 6 / 2, 3, 4."""
    sent = [(vector(1, 2, 3, 4), [0, 1, 2, 3]), (vector(3, 4), [0, 1]), (vector(8), [0])]
    w = vector(9, 9, 9, 9)
    assert averaged(w, sent, vector(1, 1, 1)).tolist() == [4, 3, 3, 4]
    assert averaged(w, sent[1:], vector(3, 1)).tolist() == [4.25, 4, 9, 9]


def test_first_units_with_their_columns_and_all_classes_remain() -> None:
    model = small_digits([5, 3]).model
    narrow = Narrow(model, 0.5)
    assert narrow.shapes == ((3, 64), (3,), (2, 3), (2,), (10, 2), (10,))
    whole = torch.arange(64 * 5 + 5 + 15 + 3 + 30 + 10)
    parts = zip(unflatten(whole[narrow.indices()], narrow.shapes), unflatten(whole, model.shapes), strict=True)
    corners = [(3, 64), (3,), (2, 3), (2,), (10, 2), (10,)]
    assert all(
        torch.equal(part, full[tuple(slice(n) for n in corner)])
        for (part, full), corner in zip(parts, corners, strict=True)
    )
    assert Narrow(small_digits([100]).model, 0.07).shapes[0] == (7, 64)  # 0.07 * 100 is a little more than 7


def test_windows_roll_by_a_unit_a_turn() -> None:
    """FedRolex: 3 of 8 units; in 8 turns every unit is there three times. Layers of other widths have a turn of their own, columns and pixels of
    maps follow the layer below, inputs and classes stay."""
    assert [rolled(8, 3, t).tolist() for t in (0, 1, 2, 9)] == [[0, 1, 2], [7, 0, 1], [6, 7, 0], [7, 0, 1]]
    assert np.bincount(np.concatenate([rolled(8, 3, t) for t in range(8)])).tolist() == [3] * 8
    assert kept_places(((2, 1), (2,), (1, 6), (1,)), ((1, 1), (1,), (1, 3), (1,)), 1).tolist() == [1, 3, 7, 8, 9, 10]
    model = SmallCnn((3, 16, 16), 10, (4, 6), 8)
    narrow = Narrow(model, 0.25)
    whole = torch.arange(sum(prod(shape) for shape in model.shapes))
    c1, b1, c2, b2, f1, b3, f2, b4 = unflatten(whole, model.shapes)
    maps, more, hidden = [3], [5, 0], [7, 0]
    assert f1.shape == (8, 6), "of 16 x 16 pixels one a map is left"
    expected = (c1[maps], b1[maps], c2[more][:, maps], b2[more], f1[hidden][:, more], b3[hidden], f2[:, hidden], b4)
    assert torch.equal(narrow.indices(1), torch.cat([part.flatten() for part in expected]))
    assert sorted(Narrow(model, 1.0).indices(3).tolist()) == whole.tolist()
    assert torch.equal(Narrow(model, 1.0).indices(0), whole)


def test_a_narrow_convolutional_network_divides_what_its_hidden_layers_give() -> None:
    """Maps 4, 6 and 8 hidden units at a quarter: 1, 2 and 2; the second dense layer sees the first maps' pixels."""
    model = SmallCnn((3, 16, 16), 10, (4, 6), 8)
    narrow, rng = Narrow(model, 0.25), np.random.default_rng(1)
    w, inputs = torch.tensor(model.initial(rng)), torch.tensor(rng.random((5, 3, 16, 16)))
    c1, b1, c2, b2, f1, b3, f2, b4 = unflatten(w, model.shapes)
    h = F.max_pool2d(torch.relu(F.conv2d(inputs, c1[:1], b1[:1]) / 0.25), 2)
    h = F.max_pool2d(torch.relu(F.conv2d(h, c2[:2, :1], b2[:2]) / 0.25), 2)
    h = torch.relu(F.linear(h.flatten(1), f1[:2, :2], b3[:2]) / 0.25)
    found = narrow.forward(unflatten(w[narrow.indices()], narrow.shapes), inputs)
    assert torch.allclose(found, F.linear(h, f2[:, :2], b4), rtol=0, atol=1e-12)
    assert torch.equal(torch.tensor(narrow.initial(np.random.default_rng(1))), w[narrow.indices()])


def test_absent_classes_count_as_logits_of_zero_and_their_rows_are_not_held() -> None:
    task = small_task(3)
    x, inputs = task.initial_parameters(np.random.default_rng(1)), torch.rand(2, 5, dtype=F64)
    parameters, labels = unflatten(x, task.model.shapes), torch.tensor([0, 2])
    logits = task.model.forward(parameters, inputs).clone()
    logits[:, 1] = 0
    found = masked_cross_entropy(task.model, parameters, inputs, labels, vector(1, 1), vector(1, 0, 1))
    assert float(found) == pytest.approx(float(F.cross_entropy(logits, labels)), abs=1e-14)
    held = unflatten(trained_parameters(task.model.shapes, vector(1, 0, 1)), task.model.shapes)
    assert all(part.all() for part in held[:-2])
    assert held[-2].all(1).tolist() == held[-1].tolist() == [True, False, True]


# -- programs ---------------------------------------------------------------------------------------------------------


def update(sender: int, x: Tensor, held: Tensor, mask: Tensor | None = None) -> Message:
    return Message(sender, "update", 0, (x, held), mask)


def test_what_did_not_arrive_is_not_held() -> None:
    """Two clients of full width: one number comes from both, one from the second only, and where neither brings it the server's own
    stays. A message without its flags brings nothing."""
    task = small_task(2)
    made = learner(HeteroFl, task, 2, width_ratios=(1.0,), deadline_s=1.0)
    server = Hand(made.program(node_of(task, id=SERVER)))
    w, n = server.sent[0].payload.data, task.num_params
    assert [sent.to for sent in server.sent] == [[0, 1, 2]]
    first, second = torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.bool)
    first[1:3], second[2] = False, False
    x, held = torch.full((n,), 4.0, dtype=F64), vector(1, 1)
    server.answer(
        update(0, x, held, first),
        update(1, x / 2, held, second),
        update(2, x, held, torch.zeros(n, dtype=torch.bool)),
    )
    assert torch.equal(server.sent[1].payload.data[:4], torch.stack([vector(3)[0], vector(2)[0], w[2], vector(3)[0]]))


def test_a_client_fills_what_is_missing_from_its_last_copy() -> None:
    task = small_task(2)
    made = learner(HeteroFl, task, width_ratios=(1.0, 0.5), learning_rate=1e-12)
    client = Hand(made.program(node_of(task, np.arange(12), id=1)))
    narrow = made.narrow_task(0.5)
    x = torch.ones(narrow.num_params, dtype=F64)
    mask = torch.ones(narrow.num_params, dtype=torch.bool)
    mask[0] = False
    client.answer(Message(SERVER, "model", 0, x))
    client.answer(Message(SERVER, "model", 1, 2 * x, mask))
    sent, held = client.sent[-1].payload.data
    assert torch.allclose(sent[:3], vector(1, 2, 2), atol=1e-9)
    assert held.tolist() == [1, 1]


def test_a_client_of_rolling_units_fills_what_is_missing_from_all_its_last_copies() -> None:
    """4 of 8 hidden units: in round 0 units 0 to 3, in round 1 units 7, 0, 1, 2, of which those below have been there before. Bias 7 is the
    first of the second window's, behind its weights."""
    task = small_digits([8])
    made = learner(HeteroFl, task, width_ratios=(1.0, 0.5), learning_rate=1e-12, units="rolling")
    node = node_of(task, np.arange(12), id=1)
    own = task.initial_parameters(np.random.default_rng(5))
    node.initial_parameters = own
    client = Hand(made.program(node))
    narrow = made.narrow_task(0.5)
    x = torch.ones(narrow.num_params, dtype=F64)
    client.answer(Message(SERVER, "model", 0, x))
    mask = torch.zeros(narrow.num_params, dtype=torch.bool)
    mask[4 * 64 + 1] = True
    client.answer(Message(SERVER, "model", 1, 2 * x, mask))
    sent, _ = client.sent[-1].payload.data
    assert torch.allclose(sent[4 * 64 : 4 * 64 + 4], vector(float(own[8 * 64 + 7]), 2, 1, 1), atol=1e-9)
    assert torch.allclose(sent[:64], own[7 * 64 : 8 * 64], atol=1e-9)


def test_late_updates_of_rolling_units_go_where_their_round_had_them() -> None:
    """Two hidden units, of which clients 0 and 2 have one: unit 0 in round 0, unit 1 in round 1. In that round there come one of it and a late one
    of round 0; in round 2 client 1, who has both, gets them in order."""
    task = small_digits([2])
    options = {"width_ratios": (0.5, 1.0), "units": "rolling", "absent_classes": "trained"}
    made = learner(HeteroFl, task, 3, **options, deadline_s=1.0, late="use")
    server = Hand(made.program(node_of(task, id=SERVER)))
    x = torch.full((made.narrow_task(0.5).num_params,), 4.0, dtype=F64)
    server.answer()
    server.answer(Message(2, "update", 1, 3 * x), late=(Message(0, "update", 0, x),))
    weights, biases, last, _ = unflatten(server.sent[-1].payload.data, task.model.shapes)
    assert server.sent[-1].to == [1]
    assert (weights[0] == 4).all()
    assert (weights[1] == 12).all()
    assert biases.tolist() == [4, 12]
    assert (last[:, 0] == 4).all()
    assert (last[:, 1] == 12).all()


def test_losses_of_a_vector_with_flags() -> None:
    """12 classes are 2 bytes; packets of 6 bytes: the first has the flags and a number."""
    task = small_task(2)
    codec = learner(HeteroFl, task).codec
    fragments = FlaggedFragments(12, codec)
    assert fragments.received_mask(np.array([True, False, True]), 48, 4).tolist() == [True, False, False, True]
    assert not fragments.received_mask(np.array([False, True, True]), 48, 4).any()
    assert not FlaggedFragments(12, None).received_mask(np.array([True, True, False]), 48, 4).any()


# -- runs -------------------------------------------------------------------------------------------------------------


def plain_logits(tensors: list[Tensor], inputs: Tensor, ratio: float) -> Tensor:
    """Of a multilayer perceptron with one hidden layer."""
    weight, bias, last, shift = tensors
    return torch.relu((inputs @ weight.T + bias) / ratio) @ last.T + shift


@pytest.mark.parametrize("units", ["first", "rolling"])
def test_a_run_equals_a_plain_torch_loop(units: str, executor: Any) -> None:
    """Four devices of widths 1, 1/2, 1/4 and 1, different labels, 3 rounds of steps with momentum; slices are taken and put back by hand."""
    task = small_digits([6])
    labels, inputs = torch.tensor(task.train_labels), torch.tensor(task.dataset.train_inputs).flatten(1)
    parts = [[int(i) for i in torch.nonzero((labels >= 2 * j) & (labels < 2 * j + 4)).flatten()[:30]] for j in range(4)]
    ratios, widths = (1.0, 0.5, 0.25, 1.0), (6, 3, 2, 6)
    options = {"batch_size": 5, "local_steps": 3, "learning_rate": 0.1, "momentum": 0.5, "units": units}
    made = learner(HeteroFl, task, 3, width_ratios=ratios[:3], **options)
    w = task.initial_parameters(np.random.default_rng(1))
    found = play(made, [task] * 4, parts, [w] * 4, w, executor, uninvited=0)
    streams = [BatchStream(np.array(part), np.random.default_rng(i), F64) for i, part in enumerate(parts)]
    full = [part.clone() for part in unflatten(w, task.model.shapes)]
    for k in range(3):
        sums = [torch.zeros_like(part) for part in full]
        counts = [torch.zeros_like(part) for part in full]
        for i, (ratio, n) in enumerate(zip(ratios, widths, strict=True)):
            mine_of = (torch.arange(n) - (k if units == "rolling" else 0)) % 6
            mine = [full[0][mine_of], full[1][mine_of], full[2][:, mine_of], full[3]]
            mine = [tensor.clone().requires_grad_() for tensor in mine]
            flat = torch.cat([tensor.detach().flatten() for tensor in mine])
            assert torch.allclose(found[i, "model"][k], flat, rtol=0, atol=1e-10), f"round {k}, device {i}"
            present = labels[parts[i]].unique()
            optimizer = torch.optim.SGD(mine, lr=0.1, momentum=0.5)
            for batch in streams[i].draw(5, steps=3).indices:
                logits = plain_logits(mine, inputs[batch], ratio)
                kept = torch.zeros_like(logits)
                kept[:, present] = logits[:, present]
                optimizer.zero_grad()
                F.cross_entropy(kept, labels[batch]).backward()
                optimizer.step()
            flat = torch.cat([tensor.detach().flatten() for tensor in mine])
            assert torch.allclose(found[i, "after_local_training"][k], flat, rtol=0, atol=1e-10)
            with torch.no_grad():
                for total, count, at, tensor in (
                    (sums[0], counts[0], mine_of, mine[0]),
                    (sums[1], counts[1], mine_of, mine[1]),
                    (sums[2], counts[2], (present[:, None], mine_of), mine[2][present]),
                    (sums[3], counts[3], present, mine[3][present]),
                ):
                    total[at] += tensor
                    count[at] += 1
        full = [torch.where(c > 0, s / c.clamp(min=1), old) for s, c, old in zip(sums, counts, full, strict=True)]
        flat = torch.cat([part.flatten() for part in full])
        assert torch.allclose(found[SERVER, "model"][k], flat, rtol=0, atol=1e-10), f"server, round {k}"


def test_full_widths_without_masks_are_fedavg() -> None:
    task = small_digits([4])
    w = task.initial_parameters(np.random.default_rng(1))
    parts = [list(range(start, start + 20)) for start in (0, 20, 40)]
    options = {"local_steps": 2, "server_weights": "samples"}
    same = {"width_ratios": (1.0,), "absent_classes": "trained"}
    ours, theirs = (
        play(learner(cls, task, 2, **options, **keys), [task] * 3, parts, [w] * 3, w)[SERVER, "model"]
        for cls, keys in ((HeteroFl, same), (FedAvg, {}))
    )
    assert torch.allclose(torch.stack(ours), torch.stack(theirs), rtol=0, atol=1e-14)


def test_rolling_units_in_a_lossy_world() -> None:
    """An estimate is the run, and the executor's window changes no bit, with late updates of other windows among those of a round."""
    loaded = harsh("heterofl", "algorithm.units=rolling", "algorithm.late=use")
    run, other, estimate = (simulate(loaded, *how) for how in (("batched", 1), ("batched", 4096), ("null",)))
    assert_equal_records(run, other)
    assert_equal_but_for_values(run, estimate)
    assert run.accuracy[-1] > 0.5


@pytest.mark.parametrize(("keys", "flags", "downloads"), [((), 8, 2), (("algorithm.downlink=broadcast",), 8, 1),
                                                       (("algorithm.absent_classes=trained",), 0, 2)])  # fmt: skip
def test_payloads_are_parts_of_the_model(keys: tuple[str, ...], flags: int, downloads: int) -> None:
    """8 features, 8 hidden units at 1, 1/2 and 1/4, 4 classes, two devices of each width: 108, 56 and 30 numbers a way."""
    run = simulate(calm("heterofl", "stop.rounds=2", *keys), "null")
    numbers = sum(8 * n + n + 4 * n + 4 for n in (8, 4, 2))
    assert run.payload_bits == 2 * (32 * numbers * (2 + downloads) + 6 * flags)


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("algorithm.width_ratios=[1, 1.5]", r"\[algorithm\] width_ratios.1 = 1.5: .* above 0 and at most 1"),
        ("algorithm.width_ratios=[1, 0]", r"\[algorithm\] width_ratios.1 = 0: .* above 0 and at most 1"),
        ("algorithm.width_ratios=[0.5]", r"\[algorithm\] width_ratios = \[0.5\]: one has to be 1"),
        ("algorithm.width_ratios=[]", r"\[algorithm\] width_ratios = \[\]: one has to be 1"),
        (
            "codec={name='topk', ratio=0.1}",
            r"name = \"heterofl\": sends parts of models, and this codec is for changes",
        ),
        ("algorithm.units=last", r"\[algorithm\] units.*first.*rolling"),
        ("evaluation.subjects=['mean_model']", r"heterofl reports as \"model\" is not one"),
        ("model.hidden=[]", r"calm \[model\]: Mlp has no hidden layer that could be narrower"),
        ("model.variants=['mlp']", r"\[model\] variants.*heterofl needs one architecture"),
    ],
)
def test_what_cannot_be_is_one_clear_line(change: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message) as error:
        Run(calm("heterofl", change), "null", None, None, None, None)
    assert "\n" not in str(error.value)


def test_networks_with_normalization_are_refused() -> None:
    keys = ("data=digits", "model.name=resnet20")
    with pytest.raises(ScenarioError, match=r"calm \[model\]: ResNet20 cannot be cut into narrower networks: mlp, "):
        Run(calm("heterofl", *keys), "null", None, None, None, None)
    with pytest.raises(ValueError, match=r"width_ratios = \[1.0, -1\]: each above 0, at most 1"):
        learner(HeteroFl, small_task(2), width_ratios=(1.0, -1))
    assert narrowed(((6, 4), (6,), (3, 6), (3,)), 1e-12) == ((1, 4), (1,), (3, 1), (3,)), "a layer keeps one unit"
    with pytest.raises(ValueError, match="ratio = 2: above 0, at most 1"):
        Narrow(small_task(2).model, 2)
