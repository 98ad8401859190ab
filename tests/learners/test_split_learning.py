"""Split learning: the same model as without a cut, the bits and the work of both halves, and what lost packets leave of a batch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.compression.uniform import Uniform
from learners.data.digits import digits
from learners.federated import split_message
from learners.federated.fedavg import FedAvg
from learners.federated.split_learning import SplitLearning
from learners.federated.split_steps import split_steps
from learners.models.lenet import LeNet
from learners.models.mlp import Mlp
from learners.models.resnet20 import ResNet20
from learners.models.vgg11 import Vgg11
from learners.protocol import SERVER
from learners.task import Task
from tests.contract.recording import record
from tests.contract.worlds import calm
from tests.learners.oracle_runs import Minibatches, digits_task, run
from wsim.engine import simulate
from wsim.errors import ScenarioError

A, CLASSES = 16, 10  # activations at the cut of `digits_task`
OPTIONS: dict[str, Any] = {"codec": Float32(), "learning_rate": 0.1, "batch_size": 16, "local_steps": 3}


def split(num_rounds: int, task: Task | None = None, **options: Any) -> SplitLearning:
    return SplitLearning(task or digits_task(), num_rounds=num_rounds, **OPTIONS | options)


def small_lenet() -> Task:
    data = digits(np.random.default_rng(1))
    return Task(data, LeNet(data.input_shape, data.num_classes, [12, 9], (3, 4)), "float64")


def test_bits_of_a_batch_at_the_cut_of_the_specification() -> None:
    """ResNet-18 behind its first block, images of 64 x 64: 64 * 16 * 16 = 16,384 floats a sample, 16 MiB a batch of 256, and labels of 3
    bits for seven classes."""
    h, labels = torch.zeros(256 * 64 * 16 * 16), torch.zeros(256, dtype=torch.int64)
    assert split_message.payload(h, labels, 7, Float32(), None).num_bits == 8 * (16 * 2**20 + 256 * 3 // 8)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", ["splitfed_v1", "vanilla"])
def test_one_client_is_sgd_on_its_batches(executor: Any, variant: str) -> None:
    world, task = Minibatches(1), digits_task()
    stream = BatchStream(np.array(world.parts[0]), np.random.default_rng(0), torch.float64)
    x, expected = world.initial[0], []
    for _ in range(3):
        draw = stream.draw(16, steps=3)
        for step in range(3):
            x = x - 0.1 * task.gradient(x, draw.indices[step], draw.weights[step])
        expected.append(x.numpy())
    models = run(split(3, variant=variant), executor, world.parts, world.initial)
    assert np.abs(models[SERVER] - np.array(expected)).max() < 1e-9
    assert list(models) == [SERVER]  # no device has a whole model


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_splitfed_is_fedavg_of_the_whole_model_wherever_it_is_cut(executor: Any, cut: int) -> None:
    """Copies of both halves, averaged with the same weights; convolutions below and above the cut, weight decay, a last batch that is
    not full."""
    world, task = Minibatches(3, same_start=True), small_lenet()
    initial = [task.initial_parameters(np.random.default_rng(0))] * 3
    parts = [part[:21] if i else part[:40] for i, part in enumerate(world.parts)]
    keys: dict[str, Any] = {**OPTIONS, "local_steps": None, "local_epochs": 1, "weight_decay": 0.01}
    whole = run(FedAvg(task, num_rounds=2, **keys), executor, parts, initial)
    halves = run(SplitLearning(task, num_rounds=2, cut=cut, **keys), executor, parts, initial)
    assert np.abs(halves[SERVER] - whole[SERVER]).max() < 1e-9
    assert np.abs(whole[SERVER][1] - whole[SERVER][0]).max() > 1e-3


def test_clients_take_turns_with_one_model(executor: Any) -> None:
    """Vanilla with three clients: SGD over the batches of one after the other, by their numbers, two rounds."""
    world, task = Minibatches(3, same_start=True), digits_task()
    streams = [
        BatchStream(np.array(part), np.random.default_rng(i), torch.float64) for i, part in enumerate(world.parts)
    ]
    x, expected = world.initial[0], []
    for _ in range(2):
        for stream in streams:
            draw = stream.draw(16, steps=3)
            for step in range(3):
                x = x - 0.1 * task.gradient(x, draw.indices[step], draw.weights[step])
        expected.append(x.numpy())
    models = run(split(2, variant="vanilla"), executor, world.parts, world.initial)
    assert np.abs(models[SERVER] - np.array(expected)).max() < 1e-9


@pytest.mark.parametrize(
    "model",
    [
        Mlp((1, 8, 8), 10, [12, 7]),
        LeNet((1, 8, 8), 10, [12, 9], (3, 4)),
        ResNet20((1, 8, 8), 10),
        Vgg11((1, 8, 8), 10),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_work_of_both_halves_is_that_of_the_whole(model: Any) -> None:
    """FLOPs of a step, wherever it is cut: the deeper, the more of them at the client."""
    task = Task(digits(np.random.default_rng(1)), model, "float64")
    indices, x = torch.arange(6), task.initial_parameters(np.random.default_rng(0))
    at_client = []
    for cut in range(1, len(model.stages) + 1):
        steps, num_lower = split_steps(task, cut, None, 0.0), model.num_lower_params(cut)
        w_c, w_s, inputs = x[:num_lower], x[num_lower:], (indices,)
        h = torch.zeros(6 * steps.num_activations, dtype=torch.float64)
        lower = steps.lower_step.flops(w_c, inputs, h, 0.1) * steps.lower_work(w_c, inputs, h, 0.1)
        client = steps.forward.flops(w_c, inputs) + lower
        server = steps.upper_step.flops(w_s, h, indices % 10, torch.ones(6, dtype=torch.bool), 0.1)
        assert client + server == pytest.approx(task.gradient.flops(x, indices, torch.ones(6)), rel=1e-12)
        at_client.append(client)
    assert at_client == sorted(set(at_client))


def test_bits_of_a_batch_and_of_a_round() -> None:
    """8 activations and 4 classes in the calm world: 32 * 16 * 8 bits and 2 a label up, 32 * 16 * 8 down, the lower part of 72 numbers
    each way."""
    run, recording = record(calm("split_learning"), "null")
    rounds, clients, batches, batch, a = 5, 6, 2, 16, 8
    sizes = {payload.num_bits for payload in recording.sent}
    assert sizes == {32 * batch * a + 2 * batch, 32 * batch * a, 32 * 72}
    a_batch = 2 * 32 * batch * a + 2 * batch
    assert run.payload_bits == rounds * clients * (batches * a_batch + 2 * 32 * 72)


def test_an_epoch_sends_every_sample_once() -> None:
    """n_k E (32 a + 2) up and n_k E 32 a down (labels of a batch filled up to whole bytes), and the lower part: padding is not sent."""
    run, _ = record(
        calm("split_learning", "algorithm.local_epochs=2", "data.partition=dirichlet", "data.alpha=0.5"), "null"
    )
    per_client = 0
    for n in run.num_samples.tolist():
        labels = sum(-(-min(16, n - first) * 2 // 8) * 8 for first in range(0, n, 16))
        per_client += 2 * (2 * n * 32 * 8 + labels) + 2 * 32 * 72
    assert run.payload_bits == 5 * per_client
    assert any(n % 16 for n in run.num_samples.tolist())


@pytest.mark.parametrize("codec", [Float32(), Uniform(8)])
def test_a_sample_counts_if_its_activations_and_its_label_arrive(codec: Any) -> None:
    """Packets of 64 bytes: which samples a lost packet takes along, by the bytes of the real message."""
    node: Any = SimpleNamespace(
        uniform=lambda n: torch.zeros(n),
        packet_payload_bits=512,
        task=SimpleNamespace(model=SimpleNamespace(shapes=())),
    )
    rng = np.random.default_rng(1)
    h, labels = (
        torch.tensor(rng.standard_normal(20 * 6), dtype=torch.float32),
        torch.from_numpy(rng.integers(0, 10, 20)),
    )
    payload = split_message.payload(h, labels, 10, codec, node)
    fragments = payload.codec
    num_packets = -(-payload.num_bits // 512)
    assert payload.num_bits == fragments.activation_bits + 20 * 4
    assert fragments.received_mask(np.ones(num_packets, dtype=bool), 512, 20).all()
    for lost in range(num_packets):
        arrived = np.arange(num_packets) != lost
        mask = fragments.received_mask(arrived, 512, 20)
        inner = codec.encoding(120, node).received_mask(arrived, 512, 120) if codec == Float32() else None
        for sample in range(20):
            first = fragments.activation_bits + 4 * sample
            label = arrived[first // 512] and arrived[(first + 3) // 512]
            if inner is not None:
                assert mask[sample] == (label and inner[6 * sample : 6 * sample + 6].all())
            else:
                assert not mask[sample] or label
    packed = split_message.framed(b"", labels.numpy(), 10)
    nibbles = np.frombuffer(packed, dtype=np.uint8)
    assert np.stack((nibbles & 15, nibbles >> 4), axis=1).ravel().tolist() == labels.tolist()


def test_lost_samples_are_left_out_of_the_batch() -> None:
    """The server's step and the gradients are those of the samples that arrived; the others' are 0, whatever arrived of them."""
    task, rng = digits_task(), np.random.default_rng(2)
    steps = split_steps(task, 1, None, 0.0)
    w_s = task.initial_parameters(rng)[task.model.num_lower_params(1) :]  # type: ignore[attr-defined]
    h, labels = torch.tensor(rng.standard_normal((8, A))), torch.from_numpy(rng.integers(0, CLASSES, 8))
    counts = torch.tensor([True, False, True, True, False, True, True, True])
    h[1, 0] = torch.nan
    after, back = steps.upper_step(w_s, h.reshape(-1), labels, counts, 0.1)
    alone, theirs = steps.upper_step(w_s, h[counts].reshape(-1), labels[counts], counts[counts], 0.1)
    assert torch.equal(back.reshape(8, A)[~counts], torch.zeros(2, A, dtype=torch.float64))
    assert float((back.reshape(8, A)[counts] - theirs.reshape(6, A)).abs().max()) < 1e-12
    assert float((after - alone).abs().max()) < 1e-12
    nothing, _ = steps.upper_step(w_s, h.reshape(-1), labels, torch.zeros(8, dtype=torch.bool), 0.1)
    assert torch.equal(nothing, w_s)


def test_a_client_goes_on_without_a_batch_that_does_not_come_back() -> None:
    """Half of all packets lost, rounds by the clock: all rounds close in time, something is learned, and nobody waits for ever."""
    keys = ["channel.forced_loss.rate=0.5", "transport.reliability=none", "algorithm.deadline_s=1.0", "dtype=float32"]
    run = simulate(calm("split_learning", *keys, "algorithm.batch_deadline_s=0.1", "algorithm.local_steps=4"))
    assert run.stop_reason == "rounds"
    assert run.simulated_s == pytest.approx(5.0, abs=0.01)
    assert run.accuracy[-1] > run.accuracy[0]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["algorithm.cut=0"], "cut"),
        (["algorithm.variant=v2"], 'has to be "splitfed_v1" or "vanilla"'),
        (["algorithm.momentum=0.9"], "plain SGD"),
        (["algorithm.late=use", "algorithm.deadline_s=1.0"], "of no use"),
        (["algorithm.batch_deadline_s=1.0"], "only with deadline_s"),
        (['codec={name="topk", ratio=0.1}'], "changes of a model only"),
    ],
)
def test_bad_input_is_one_clear_line(keys: list[str], says: str) -> None:
    with pytest.raises(ScenarioError) as error:
        calm("split_learning", *keys)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("algorithm.cut=2", r"calm \[model\]: has 1 below its last layer, \[algorithm\] cut = 2; 1 to 1$"),
        ("model.hidden=[]", r"calm \[model\]: has no layer below its last one, where it could be cut"),
    ],
)
def test_a_model_that_cannot_be_cut_there_is_refused(key: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        simulate(calm("split_learning", key), "null")
