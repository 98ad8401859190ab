"""Split learning and SplitFed: the model is cut, and activations and gradients travel in every batch.

Vepakomma, Gupta, Swedish and Raskar, "Split learning for health", arXiv 1812.00564 ("vanilla"); Thapa, Arachchige, Camtepe and Sun,
"SplitFed: when federated learning meets split learning", AAAI 2022, Algorithm 1 (arXiv 2004.12088, "splitfed_v1"). The lower part w_c of
the model, up to layer `cut`, is the client's, the upper part w_s the server's. Of every batch

    client:  h = f(w_c; x)                       sends h and the labels
    server:  w_s <- w_s - lr dL/dw_s             sends dL/dh
    client:  w_c <- w_c - lr (dh/dw_c)^T dL/dh

one after the other, which is a step of SGD on the whole model (`split_steps`). A round:

    splitfed_v1   all its clients at the same time, each with a copy of w_s at the server; then
                  w_c <- sum_i p_i w_c,i   and   w_s <- sum_i p_i w_s,i,        p_i = n_i / sum_j n_j
    vanilla       its clients one after the other, by their numbers; each goes on with the w_c and w_s of the one before, w_c by way of
                  the server

Sends, per batch of B samples with a activations each and C classes: 32 B a bits and the labels up, 8 ceil(B ceil(log2 C) / 8) bits
(`split_message`), 32 B a down; per round and client w_c each way.

The papers': the cut, the order, the copies. Ours: weights by samples (server_weights = "uniform" for the SplitFed code's mean); of
what a round leaves at the server, a client's copy counts only if its w_c comes back, so that both halves are of the same
clients; deadlines and losses. A sample of which activations or the label are lost is left out of its batch; lost numbers of dL/dh count
as 0, those of w_c as the receiver's last copy. A batch of which nothing comes back until batch_deadline_s is over for the client, which
goes on with its next; a client that hears of a new round leaves the old one. Plain SGD, with weight decay in both parts.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from learners.averaging import average, average_masked, fill, full_masks
from learners.compression.codec import check_for_models
from learners.federated import split_message
from learners.federated.server_sgd import ServerSgd
from learners.federated.shared_part import in_one_row, parts_of
from learners.federated.split_steps import SplitSteps, split_steps
from learners.fields import check_choice, check_count, check_number
from learners.models.flat import Model, num_params
from learners.models.stages import Staged
from learners.protocol import (
    SERVER,
    Batches,
    Compute,
    Message,
    Node,
    Program,
    Receive,
    Report,
    Send,
    Service,
    Value,
    rounds,
)
from learners.quantities import Count, Seconds

TURN = 1 << 20
"""Numbers of messages of a turn: t TURN bears w_c, t TURN + 1 + i belongs to batch i."""


@dataclass(frozen=True)
class SplitLearning(ServerSgd):
    """Rounds as in `ServerSgd`. cut: layers of the client, from 1. variant: "splitfed_v1" or "vanilla". deadline_s: of a round, of a
    client's turn with "vanilla". batch_deadline_s: of the way of a batch's activations to the server and of the gradients back, from
    the client's send; not given: deadline_s over one more than the number of its batches. local_steps, local_epochs: batches of a
    client in a round."""

    cut: Count = 1
    variant: Literal["splitfed_v1", "vanilla"] = "splitfed_v1"
    batch_deadline_s: Seconds | None = None

    takes_momentum: ClassVar[bool] = False
    depends_on_timing: ClassVar[bool] = True  # the order in which the server's upper half hears of clients
    reports: ClassVar[tuple[str, ...]] = ()
    measures: ClassVar[dict[str, tuple[str, ...] | str]] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "activations, gradients and parts of models")
        check_count("cut", self.cut)
        check_choice("variant", self.variant, ("splitfed_v1", "vanilla"))
        self._only_with("batch_deadline_s", self.deadline_s is not None, "deadline_s")
        check_number("batch_deadline_s", self.batch_deadline_s, optional=True)
        if self.late != "discard":
            raise ValueError(f'late = {self.late!r}: a part whose other one is gone is of no use; "discard"')
        if self.asks:
            raise ValueError(
                f"selection = {self.selection!r}: this server does not ask before it chooses; another policy"
            )

    def check_models(self, models: Sequence[Model]) -> None:
        """Raise ValueError unless the model can be cut there."""
        for model in models:
            num_layers = len(model.stages) if isinstance(model, Staged) else 0
            if not num_layers:
                raise ValueError(
                    "has no layer below its last one, where it could be cut; split_learning needs one that has"
                )
            if self.cut > num_layers:
                raise ValueError(
                    f"has {num_layers} below its last layer, [algorithm] cut = {self.cut}; 1 to {num_layers}"
                )

    def program(self, node: Node) -> Any:
        return [self.server(node), Service(self.upper_half(node))] if node.id == SERVER else Service(self.client(node))

    def steps_of(self, node: Node) -> SplitSteps:
        return split_steps(node.task, self.cut, self.crop_padding, self.weight_decay)

    def lower_and_upper(self, node: Node) -> tuple[Value, Value]:
        """w_c and w_s of the initial model."""
        model: Any = node.task.model
        num_lower = model.num_lower_params(self.cut)
        lower, upper = parts_of(node.initial_parameters, (num_lower, num_params(model.shapes) - num_lower))
        return lower, upper

    def round_of(self, node: Node, turn: int) -> int:
        return turn // node.num_devices if self.variant == "vanilla" else turn

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        lower, upper = self.lower_and_upper(node)
        for k in rounds(self.num_rounds):
            payload = self.codec.payload(lower, node)
            clients = yield from self.chosen(node, k, payload)
            if self.variant == "vanilla":
                for i, client in enumerate(clients):
                    lower, upper = yield from self._turn(node, k * node.num_devices + i, [client], lower, upper)
            else:
                lower, upper = yield from self._turn(node, k, clients, lower, upper)
            yield Report("model", in_one_row((lower, upper)))

    def _turn(
        self, node: Node, turn: int, clients: list[int], lower: Value, upper: Value
    ) -> Generator[Any, Any, tuple[Value, Value]]:
        """w_c and w_s after these clients have trained at the same time."""
        copies: dict[int, Value] = dict.fromkeys(clients, upper)
        node.state["turn"] = turn, copies
        yield from self.send_download(node, clients, turn, self.codec.payload(lower, node), turn * TURN)
        updates = yield from self.collect(node, clients, turn)
        node.state["turn"] = turn, {}
        if not updates.messages:
            return lower, upper
        shares, masks = self.shares(node, updates), full_masks(updates)
        if masks is None:
            lower = yield Compute(average, (updates.data, shares))
        else:
            lower = yield Compute(average_masked, (updates.data, shares, masks, lower))
        upper = yield Compute(average, ([copies[sender] for sender in updates.senders], shares))
        return lower, upper

    def upper_half(self, node: Node) -> Program:
        """The server's program that answers activations with gradients."""
        steps = self.steps_of(node)
        while True:
            (message,) = (yield Receive(None, "activations", count=1)).messages
            turn, copies = node.state["turn"]
            if message.round // TURN != turn or message.sender not in copies:
                continue
            h, labels = message.data
            counts = torch.ones(len(labels), dtype=torch.bool) if message.mask is None else message.mask
            rate = self.rate(node, self.round_of(node, turn))
            args = copies[message.sender], h, labels, counts, rate
            w_s, back = yield Compute(steps.upper_step, args)
            if message.sender in copies and node.state["turn"][0] == turn:
                copies[message.sender] = w_s
            expires_s = self.batch_deadline_s or self.deadline_s
            yield Send(message.sender, "model", message.round, self.codec.payload(back, node), expires_s=expires_s)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        lower, _ = self.lower_and_upper(node)  # the last copy of w_c
        message: Message | None = None
        while True:
            while message is None or message.round % TURN:
                message = yield from self.download(node)
            turn = message.round // TURN
            data, mask = message.data, message.mask
            lower = data if mask is None else (yield Compute(fill, (data, mask, lower)))
            yield Report("model", None)
            trained, message = yield from self._batches(node, turn, lower)
            if message is None:
                yield from self.upload(node, turn, self.codec.payload(trained, node))

    def _batches(self, node: Node, turn: int, w_c: Value) -> Generator[Any, Any, tuple[Value, Message | None]]:
        """w_c after its batches; and the server's message that it is for a new turn, where one came meanwhile."""
        steps, rate, zeros = self.steps_of(node), self.rate(node, self.round_of(node, turn)), None
        drawn = self.batches(node)
        for i, batch in enumerate(drawn.apart()):
            inputs, labels = self._samples(node, batch, i, drawn)
            number, size = turn * TURN + 1 + i, len(labels)
            h = yield Compute(steps.forward, (w_c, inputs))
            payload = split_message.payload(h, labels, node.task.num_classes, self.codec, node)
            patience_s = self._patience_s(drawn.num_steps)
            yield Send(SERVER, "activations", number, payload, expires_s=patience_s)
            answer = yield from self._answer(number, patience_s)
            if answer is None:
                continue
            if answer.round != number:
                return w_c, answer
            back = answer.data
            if answer.mask is not None:
                zeros = node.tensor([0.0] * (size * steps.num_activations))
                back = yield Compute(fill, (back, answer.mask, zeros))
            work = steps.lower_work(w_c, inputs, back, rate)
            w_c = yield Compute(steps.lower_step, (w_c, inputs, back, rate), work=work)
        return w_c, None

    def _samples(self, node: Node, batch: Batches, i: int, drawn: Batches) -> tuple[tuple[Tensor, ...], Tensor]:
        """Of a batch, what the lower part takes, and the labels [B]: of the real samples, padding is neither computed nor sent."""
        size = self.batch_size
        if self.local_epochs is not None:
            of_epoch = i % (drawn.num_steps // self.local_epochs)
            size = min(size, node.num_samples - of_epoch * size)
        indices, _, *augmentation = batch.steps
        inputs = tuple(part[0, :size] for part in (indices, *augmentation))
        labels = torch.zeros(size, dtype=torch.int64)
        if drawn.drawn:
            labels = torch.from_numpy(node.task.train_labels)[inputs[0]].to(torch.int64)
        return inputs, labels

    def _answer(self, number: int, patience_s: float | None) -> Generator[Any, Any, Message | None]:
        """The gradients of a batch, or a new turn; None where neither comes in time."""
        while True:
            messages = (yield Receive([SERVER], "model", count=1, timeout_s=patience_s)).messages
            if not messages:
                return None
            if messages[0].round == number or (messages[0].round > number and messages[0].round % TURN == 0):
                return messages[0]

    def _patience_s(self, num_steps: int) -> float | None:
        if self.batch_deadline_s is not None or self.deadline_s is None:
            return self.batch_deadline_s
        return self.deadline_s / (num_steps + 1)
