"""FedAvg whose clients send how far they came: the same algorithm in exact arithmetic, and what lossy codecs make of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from learners.batching import BatchStream
from learners.compression.float32 import Float32
from learners.compression.topk import TopK
from learners.compression.uniform import Uniform
from learners.decentralized.dpsgd import Dpsgd
from learners.decentralized.gossip import Gossip
from learners.deferred import Op
from learners.federated.fedavg import FedAvg
from learners.federated.fedbuff import FedBuff
from learners.loopback import LoopbackNode, loopback
from learners.protocol import SERVER, Message, Send
from tests.learners.test_algorithm_steps import Hand, HandNode, learner, mask, vector

OPTIMA = torch.tensor([[4.0, -2.0, 1.0, 0.5], [-1.0, 6.0, 1.0, -0.5], [3.0, 2.0, -8.0, 0.0]], dtype=torch.float64)


class Bowls:
    """f_i(x) = |x - b_i|^2 / 2 for client i: with equal weights the optimum of all is the mean of OPTIMA."""

    num_params = 4
    model = SimpleNamespace(shapes=((4,),))

    def __init__(self) -> None:
        def sgd_step(x: Tensor, indices: Tensor, weights: Tensor, learning_rate: float) -> Tensor:
            return x - learning_rate * (x - OPTIMA[indices].squeeze(0))

        self.sgd_step = Op(sgd_step, name="sgd_step", flops=lambda x, *_: 2 * x.numel())


def run(num_rounds: int, cls: Any = FedAvg, **options: Any) -> tuple[Tensor, list[Any]]:
    """The server's models [num_rounds, 4], and the trace."""
    task = Bowls()
    made = cls(task, num_rounds=num_rounds, learning_rate=0.1, batch_size=1, local_steps=2, **options)
    start = torch.zeros(4, dtype=torch.float64)
    nodes = [
        LoopbackNode(
            i, (SERVER,), start, np.random.default_rng(i), 1, task=task, dtype=torch.float64,
            stream=BatchStream(np.array([i]), np.random.default_rng(i), torch.float64),
        )
        for i in range(3)
    ]  # fmt: skip
    server = LoopbackNode(SERVER, (0, 1, 2), start, np.random.default_rng(9), task=task, dtype=torch.float64)
    server.devices, server.samples_of = (0, 1, 2), [1, 1, 1]
    bench = loopback(made.program, [*nodes, server])
    return torch.stack([report.value for report in bench.reports if report.node == SERVER]), bench.trace


def sizes(trace: list[Any], kind: str) -> set[int]:
    return {line[5] for line in trace if line[1] == "send" and line[3] == kind}


def test_differences_give_the_models_of_whole_updates() -> None:
    models, _ = run(20, codec=Float32())
    differences, trace = run(20, codec=Float32(), update="difference")
    assert float((models - differences).abs().max()) < 1e-12
    assert sizes(trace, "model") == sizes(trace, "update") == {128}


def test_topk_travels_up_and_float32_down() -> None:
    _, trace = run(3, codec=TopK(0.25))
    assert sizes(trace, "model") == {128}
    assert sizes(trace, "update") == {40}  # one value of 32 bits, its place of 2, filled up to whole bytes


def test_the_model_may_travel_in_float32_beside_any_codec() -> None:
    for downlink, bits in (("auto", 48), ("float32", 128)):
        _, trace = run(1, codec=Uniform(4), update="difference", downlink_codec=downlink)
        assert (sizes(trace, "model"), sizes(trace, "update")) == ({bits}, {48})


def test_error_feedback_reaches_the_optimum_that_top_1_of_4_alone_misses() -> None:
    """With it the error is bounded, so the mean of the models goes to the optimum of the sum (the oscillation around it is
    averaged out); without it, the small coordinates of every client's difference are never sent."""
    optimum = OPTIMA.mean(0)
    distance = {
        feedback: float((run(800, codec=TopK(0.25, error_feedback=feedback))[0][400:].mean(0) - optimum).abs().max())
        for feedback in (True, False)
    }
    assert distance[True] < 0.02
    assert distance[False] > 0.3


def test_fedbuff_feeds_errors_back_as_fedavg_does() -> None:
    """A buffer of one update of each client, who all answer at once: the same algorithm."""
    codecs = {feedback: TopK(0.25, error_feedback=feedback) for feedback in (True, False)}
    fedavg, _ = run(20, codec=codecs[True])
    assert float((run(20, FedBuff, buffer_size=3, codec=codecs[True])[0] - fedavg).abs().max()) < 1e-12
    assert float((run(20, FedBuff, buffer_size=3, codec=codecs[False])[0] - fedavg).abs().max()) > 0.1


def test_quantization_at_random_reaches_the_optimum() -> None:
    """2 bits a value: levels -1, 0, 1 times the largest of each message. Unbiased, so the mean over rounds is the optimum within
    4 standard errors, found from 20 means of 50 rounds each."""
    models, trace = run(1100, codec=Uniform(2), update="difference")
    assert sizes(trace, "update") == {40}
    means = models[100:].reshape(20, 50, 4).mean(1)
    standard_error = means.std(0) / 20**0.5
    assert ((means.mean(0) - OPTIMA.mean(0)).abs() < 4 * standard_error).all()
    assert (standard_error > 0).all()


@pytest.mark.parametrize("codec", [Float32(), Uniform(), Uniform(error_feedback=True), TopK(0.5)], ids=repr)
def test_what_auto_chooses(codec: Any) -> None:
    fedavg = learner(FedAvg, local_steps=1, codec=codec)
    assert fedavg.sends_differences == (not isinstance(codec, Float32) and codec.error_feedback)
    assert learner(FedAvg, local_steps=1, codec=codec, update="difference").sends_differences


# -- by hand -----------------------------------------------------------------------------------------------------------


def server() -> Hand:
    return Hand(
        learner(FedAvg, local_steps=1, deadline_s=4.0, num_rounds=2, update="difference").program(HandNode(SERVER))
    )


def test_the_server_adds_the_mean_of_what_arrived() -> None:
    hand = server()
    hand.answer(Message(1, "update", 0, vector(1, 0, 6)), Message(2, "update", 0, vector(2, 5, 0)), missing=(0,))
    torch.testing.assert_close(hand.reports[0], (20 * vector(1, 0, 6) + 30 * vector(2, 5, 0)) / 50)
    hand.answer(missing=(0, 1, 2))
    assert torch.equal(hand.reports[1], hand.reports[0])


def test_a_missing_coordinate_is_no_change() -> None:
    hand = server()
    first = Message(0, "update", 0, vector(3, 3, 3), mask(1, 0, 1))
    hand.answer(first, Message(1, "update", 0, vector(6, 6, 6)), missing=(2,))
    torch.testing.assert_close(hand.reports[0], vector(5, 4, 5))  # (10 * 3 + 20 * 6) / 30; without the 3: 20 * 6 / 30


def test_a_client_sends_what_it_added_to_the_model_that_it_got() -> None:
    client = Hand(learner(FedAvg, local_steps=1, update="difference").program(HandNode()))
    client.answer(Message(SERVER, "model", 0, vector(1, 2, 13)))
    torch.testing.assert_close(client.sent[0].payload.data, vector(0, 0, -1.0))  # -0.1 (x - (1, 2, 3))


# -- what does not go together -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [Dpsgd, Gossip])
@pytest.mark.parametrize(
    ("codec", "says"),
    [
        (TopK(0.1), "codec = TopK: sends whole models, and this codec is for changes of a model only"),
        (
            Uniform(error_feedback=True),
            "codec = Uniform: sends whole models, and only changes of a model have error_feedback",
        ),
    ],
    ids=["topk", "error feedback"],
)
def test_whole_models_refuse_codecs_for_differences(cls: Any, codec: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        learner(cls, codec=codec)


@pytest.mark.parametrize("codec", [TopK(0.1), Uniform(error_feedback=True)], ids=["topk", "error feedback"])
def test_fedavg_refuses_to_send_models_by_them(codec: Any) -> None:
    with pytest.raises(ValueError, match="update = 'model': the codec is for differences"):
        learner(FedAvg, local_steps=1, codec=codec, update="model")


def test_a_client_with_error_feedback_sends_once_a_round() -> None:
    client = Hand(learner(FedAvg, local_steps=1, codec=TopK(0.3), deadline_s=2.0).program(HandNode()))
    client.answer(Message(SERVER, "model", 0, vector(1, 2, 13)))
    client.answer()  # no newer one
    assert [type(request) for request in client.requests if isinstance(request, Send)] == [Send]
    assert (client.sent[0].to, client.sent[0].expires_s) == ([SERVER], 2.0)
