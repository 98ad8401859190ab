"""FedKD: federated knowledge distillation. A common student travels, in compressed updates; each device keeps a teacher of its own.

Wu, Wu, Lyu, Huang and Xie, "Communication-efficient federated learning via knowledge distillation", Nature Communications 13 (2022)
(arXiv 2108.13323). F_k the teacher, private, of any architecture; G the student, common; h their representations, W a private matrix:

    S   = CE(z_F, y) + CE(z_G, y)                                  a weight: the better both are, the more they listen
    L_F = CE(z_F, y) + (KL(p_G || p_F) + MSE(h_F, W h_G)) / S
    L_G = CE(z_G, y) + (KL(p_F || p_G) + MSE(h_F, W h_G)) / S      both by SGD in the same steps
    G <- G + C(mean over the clients of the round of C(G_k - G))   C: decomposition of each matrix, see `truncated_svd`

C keeps the part T of the energy of a matrix, T = energy_start + (energy_end - energy_start) t / num_rounds in round t.
Sends, per round and client: r (m + n + 1) numbers for each matrix, all of each vector, each way, so that the bits depend on what is
learned (an estimate takes the largest r); 32 |G| with compression = "none", where G itself travels as the codec has it. With "svd" the
codec has to be float32: a client adds changes to the G that it got, which has to be the server's.

Two ways to infer: the teacher, "model", and the student, "student"; each before and after local training.

The paper's: the losses of output and hidden layer, the plain mean, the dynamic threshold .95 to .98 (constant at its start where the run
has no number of rounds). Here a loss moves only its own model (in z of the other, and in S, it is detached), KL is a mean over the
batch, MSE over batch and dimensions, and only the last hidden layer is matched (in the paper, of transformers, all and their attention).
Ours: a client of which the server has no upload of the round before may not have the student of then; it gets all of G. Compressed
messages count as a whole; after a lost upload its client goes on from the next student. A deadline; with compression = "none" lost and
partial messages as in `shared_part`.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from learners.averaging import average
from learners.compression.error_feedback import minus, plus
from learners.compression.float32 import Float32
from learners.federated import truncated_svd
from learners.federated.mutual import Pair, divergence
from learners.federated.shared_part import SharedPartSgd, in_one_row, parts_of, reports_of, with_task
from learners.fields import check_choice
from learners.models.flat import Model, glorot_normal
from learners.protocol import Compute, Node, Payload, Program, Read, Report, Value, rounds
from learners.quantities import Part
from learners.task import weighted_cross_entropy, weighted_mean

DEFAULT_ENERGY_START, DEFAULT_ENERGY_END = 0.95, 0.98


@dataclass(frozen=True)
class FedKd(SharedPartSgd):
    """Rounds as in `ServerSgd`. The student is that of [model], the devices' teachers are its variants.
    compression: of the student's updates, "svd" or "none". energy_start, energy_end: T of the first round (0.95), and towards
    the last (0.98), of "svd"."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    compression: Literal["svd", "none"] = "svd"
    energy_start: Part | None = None
    energy_end: Part | None = None

    shared_head: ClassVar[str | None] = "student"
    heads: ClassVar[Mapping[str, str]] = {"student": "shared_alone"}
    reports: ClassVar[tuple[str, ...]] = reports_of(heads)
    own_metrics: ClassVar[tuple[str, ...]] = ("model", *reports)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("compression", self.compression, ("svd", "none"))
        compresses = self.compression == "svd"
        for key, default in (("energy_start", DEFAULT_ENERGY_START), ("energy_end", DEFAULT_ENERGY_END)):
            self._only_with(key, compresses, 'compression = "svd"', default)
            if compresses and not 0 < getattr(self, key) <= 1:
                raise ValueError(f"{key} = {getattr(self, key)!r}: above 0, at most 1")
        if compresses:
            if not isinstance(self.codec, Float32):
                says = 'the whole student has to be the server\'s with compression = "svd"; float32, or compression = "none"'
                raise ValueError(f"codec = {type(self.codec).__name__}: {says}")
            object.__setattr__(self, "value_dependent", True)

    def energy(self, k: int) -> float:
        """T of round k."""
        start, end = self.energy_start or DEFAULT_ENERGY_START, self.energy_end or DEFAULT_ENERGY_END
        return start + (end - start) * (k / self.num_rounds if self.num_rounds else 0)

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        return super().server(node) if self.compression == "none" else self._compressing_server(node)

    def _compressing_server(self, node: Node) -> Program:
        theta = node.initial_parameters
        change: Payload | None = None  # from the student of the round before to theta
        holders: set[int] = set()  # clients that have the student of the round before
        for k in rounds(self.num_rounds):
            clients = yield from self.chosen(node, k, Payload(None, 32 * self.task.num_params))
            behind = [client for client in clients if client not in holders]
            if change is not None and len(behind) < len(clients):
                yield from self.send_download(node, [client for client in clients if client in holders], k, change)
            if behind:
                whole = self.codec.payload(theta, node)
                whole = whole._replace(data=(whole.data, None), codec=None)
                yield from self.send_download(node, behind, k, whole)
            updates = yield from self.collect(node, clients, k)
            holders = {message.sender for message in updates.messages if message.round == k}
            if updates.messages:
                differences = [values for values, _ in updates.data]
                mean = yield Compute(average, (differences, self.shares(node, updates)))
                estimates = any(form.ranks is None for _, form in updates.data)
                change = yield from self._compressed(node, mean, k, estimates)
                theta = yield Compute(plus, (theta, change.data[0]))
            yield Report("student", theta)
            yield Report("model", None)

    def _compressed(self, node: Node, difference: Value, k: int, estimates: bool) -> Generator[Any, Any, Payload]:
        """A change of the student as a message: its values, and the format that has the ranks of its matrices."""
        shapes = self.task.model.shapes
        received, ranks = yield Compute(truncated_svd.truncated, (difference, node.tensor(self.energy(k)), shapes))
        found = None if estimates else tuple((yield Read(ranks)).tolist())
        form = truncated_svd.Message(shapes, found)
        return Payload((received, form), form.num_bits)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        task = self.pair(node, Distilled)
        own = with_task(node, task)
        sizes = (self.task.num_params, task.num_params - self.task.num_params)
        matching = torch.tensor(cast(Distilled, task.model).initial_matching(node.rng), dtype=task.dtype)
        private = in_one_row((node.initial_parameters, matching))
        theta = self.drawn_part(node)  # then the last copy of the student
        yield from self.report_first(task, in_one_row((theta, private)))
        while True:
            k, theta = yield from self._received(node, theta)
            x = in_one_row((theta, private))
            yield from self.report(task, x)
            batches = self.batches(node)
            x = yield from self.train(own, x, k, batches, distilled_loss)
            yield from self.report(task, x, trained=True)
            trained, private = parts_of(x, sizes)
            if self.compression == "none":
                yield from self.upload(node, k, self.shared_payload(node, trained))
            else:
                difference = yield Compute(minus, (trained, theta))
                yield from self.upload(node, k, (yield from self._compressed(node, difference, k, not batches.drawn)))

    def _received(self, node: Node, theta: Value) -> Generator[Any, Any, tuple[int, Value]]:
        """The round of the newest download, and its student."""
        if self.compression == "none":
            return (yield from self.received_part(node, theta))
        message = yield from self.download(node)
        values, form = message.data  # None: the whole student, no change
        return message.round, values if form is None else (yield Compute(plus, (theta, values)))


class Distilled(Pair):
    """A pair with the matrix W [d_F, d_G] that takes the student's representation to the teacher's, behind both."""

    def __init__(self, shared: Model, private: Model) -> None:
        super().__init__(shared, private)
        self.shapes = (*self.shapes, (private.feature_dim, shared.feature_dim))

    def answers(self, parameters: Sequence[Tensor], inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z_G, z_F, W h_G and h_F."""
        of_shared, of_private = self.of_shared(parameters), self.of_private(parameters)
        h_shared = self.shared.representation(of_shared, inputs.reshape(-1, *self.shared.input_shape))
        h_private = self.private.representation(of_private, inputs)
        logits = self.shared.head(of_shared, h_shared), self.private.head(of_private, h_private)
        return *logits, F.linear(h_shared, parameters[-1]), h_private

    def initial(self, rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([super().initial(rng), self.initial_matching(rng)])

    def initial_matching(self, rng: np.random.Generator) -> np.ndarray:
        """W Glorot normal, flat float64."""
        return glorot_normal(rng, self.shapes[-1]).ravel()


def distilled_loss(
    model: Distilled, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, weights: Tensor
) -> Tensor:
    """CE(z_F) + CE(z_G) + (KL(p_G || p_F) + KL(p_F || p_G) + MSE(h_F, W h_G)) / S, S and the teaching sides of KL detached. Its gradient
    is that of L_F in the teacher and of L_G in the student and W."""
    student, teacher, h_student, h_teacher = model.answers(parameters, inputs)
    own = weighted_cross_entropy(student, labels, weights) + weighted_cross_entropy(teacher, labels, weights)
    mutual = divergence(student, teacher, weights) + divergence(teacher, student, weights)
    hidden = weighted_mean((h_teacher - h_student).square().mean(-1), weights)
    return own + (mutual + hidden) / own.detach().clamp(min=1e-12)  # a batch of padding has S = 0
