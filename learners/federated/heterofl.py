"""HeteroFL: devices hold sub-networks of the server's model, as wide as they can afford, one nested in the other.

Diao, Ding and Tarokh, "HeteroFL: computation and communication efficient federated learning for heterogeneous clients", ICLR 2021
(arXiv 2010.01264). Client k of width ratio r_k has the first ceil(r_k n) of the n units of every hidden layer (`models.narrow`); P_k is
the set of their parameters in the server's model w. In each round

    w_k <- w[P_k],  then local SGD on the masked cross-entropy of the scaled sub-network
    w_j <- mean over the clients of the round that hold j: sum_k s_k w_kj / sum_k s_k;  w_j stays where nobody holds it

Scaled: what hidden layers give is divided by r_k, so that wider layers above get numbers of one size. Masked: logits of classes of which a
client has no sample count as 0 in its loss, and it does not hold the output layer's rows of these classes.

Sends, per round and client: its part each way, 32 |P_k| bits with float32, about r_k^2 of the whole; up 1 bit a class beside it, which says
whose rows are in the mean (absent_classes = "masked"). With downlink = "broadcast" the server sends once to all clients of one width:
one part a width, not one a client.

With units = "rolling" the windows move by a unit a round, so that all of w is trained, whoever is there: P_k has units -t, 1 - t, ...
modulo n of every hidden layer in round t. That is FedRolex, Alam, Liu, Yan and Zhang, "FedRolex: model-heterogeneous federated learning
with rolling sub-model extraction", NeurIPS 2022 (arXiv 2212.01548), with HeteroFL's means; t is the number of the round, which travels in
front of every message anyway.

As in the authors' code: the first units, s_k = 1 (server_weights = "samples" weighs by n_k), fixed widths, both scaling and masks. Its static
batch normalization, statistics of which are taken anew after training, has no counterpart: no model here has batch normalization, and
those that normalize (resnet20, vgg11) are refused, since statistics of groups of maps would change with the width. Ours: a device answers
with its sub-network, scaled as in training (there, only the server's model is tested); a deadline; missing numbers of a download stay as in
the client's last copy of them, and numbers of an upload that did not arrive are not held by that client in that round.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from learners.averaging import fill, full_masks
from learners.compression.codec import check_for_models
from learners.deferred import op
from learners.federated import class_flags, class_tables
from learners.federated.server_sgd import ServerSgd
from learners.federated.shared_part import with_task
from learners.fields import check_choice
from learners.models.flat import Model, Shapes
from learners.models.narrow import Narrow, check_narrows
from learners.protocol import Compute, Message, Node, Payload, Program, Received, Report, Value, rounds
from learners.quantities import Part
from learners.task import Task, weighted_cross_entropy


@dataclass(frozen=True)
class HeteroFl(ServerSgd):
    """Rounds as in `ServerSgd`. width_ratios: r, dealt to the devices in turn, device i has number i modulo their count; one is 1.
    units: of each hidden layer, the "first" or "rolling" ones.
    scaled_activations: scaling as above. absent_classes: "masked" as above, or "trained" as all others."""

    server_weights: Literal["samples", "uniform"] = "uniform"
    width_ratios: tuple[Part, ...] = (1.0, 0.5, 0.25)
    units: Literal["first", "rolling"] = "first"
    scaled_activations: bool = True
    absent_classes: Literal["masked", "trained"] = "masked"

    own_metrics: ClassVar[tuple[str, ...]] = ("model", "after_local_training")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, "parts of models")
        check_choice("units", self.units, ("first", "rolling"))
        check_choice("absent_classes", self.absent_classes, ("masked", "trained"))
        object.__setattr__(self, "width_ratios", tuple(self.width_ratios))
        shown = f"width_ratios = {list(self.width_ratios)}"
        if not all(0 < ratio <= 1 for ratio in self.width_ratios):
            raise ValueError(f"{shown}: each above 0, at most 1")
        if 1 not in self.width_ratios:
            raise ValueError(f"{shown}: one has to be 1, else nobody trains the rest of the server's model")

    def check_models(self, models: Sequence[Model]) -> None:
        """Raise ValueError unless the server's model can be cut."""
        for model in models:
            check_narrows(model)

    # -- server -------------------------------------------------------------------------------------------------------

    def server(self, node: Node) -> Program:
        w = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            clients = yield from self.chosen(node, k, Payload(None, 32 * self.task.num_params))
            for ratio in dict.fromkeys(self.width_ratios):
                group = [client for client in clients if self.ratio_of(client) == ratio]
                if group:
                    yield from self.send_download(node, group, k, self._part(node, w, self.narrow_task(ratio), k))
            updates = yield from self.collect(node, clients, k)
            if updates.messages:
                w = yield from self._averaged(node, w, updates)
            yield Report("model", w)

    def ratio_of(self, client: int) -> float:
        """r of a device."""
        return self.width_ratios[client % len(self.width_ratios)]

    def narrow_task(self, ratio: float) -> Task:
        """The task of the sub-network, one for all devices of a width."""
        found = self._tasks.get(ratio)
        if found is None:
            model = Narrow(self.task.model, ratio, scaled=self.scaled_activations)
            found = self._tasks[ratio] = self.task.with_model(model)
        return found

    @cached_property
    def _tasks(self) -> dict[float, Task]:
        return {}

    def _part(self, node: Node, w: Value, task: Task, k: int) -> Payload:
        return self.codec.payload(part(w, self.places(task, k)), with_task(node, task))

    def turn(self, k: int) -> int:
        """By how many units the windows have moved in round k."""
        return k if self.units == "rolling" else 0

    def places(self, task: Task, k: int) -> Tensor:
        """Where the parameters of a sub-network are in the server's model in round k."""
        narrow: Narrow = task.model  # type: ignore[assignment]
        return narrow.indices(self.turn(k))

    def _averaged(self, node: Node, w: Value, updates: Received) -> Generator[Any, Any, Value]:
        """The server's model after a round."""
        shares = self.shares(node, updates)
        sums = totals = torch.zeros_like(self.task.zero_parameters)
        for ratio in dict.fromkeys(self.width_ratios):
            task = self.narrow_task(ratio)
            own = [i for i, sender in enumerate(updates.senders) if self.ratio_of(sender) == ratio]
            for turn in sorted(
                {self.turn(updates.messages[i].round) for i in own}
            ):  # late ones have windows of their own
                group = [i for i in own if self.turn(updates.messages[i].round) == turn]
                messages = [updates.messages[i] for i in group]
                parts, holds = zip(*(self._content(message, task) for message in messages), strict=True)
                masks = full_masks(Received(tuple(messages))) or list(holds)
                args = list(parts), masks, list(holds), shares[group], self.places(task, turn)
                sums, totals = yield Compute(add_held, (sums, totals, *args))
        return (yield Compute(mean_of_holders, (w, sums, totals)))

    def _content(self, message: Message, task: Task) -> tuple[Value, Tensor]:
        """What a client sent, and which of its parameters are to be averaged, bool [num_params]."""
        if self.absent_classes == "trained":
            return message.data, torch.ones(task.num_params, dtype=torch.bool)
        x, held = message.data
        return x, trained_parameters(task.model.shapes, held)

    # -- client -------------------------------------------------------------------------------------------------------

    def client(self, node: Node) -> Program:
        task = self.narrow_task(self.ratio_of(node.id))
        here = with_task(node, task)
        samples = node.all_samples(self.batch_size)
        held = node.tensor(class_tables.counts(task.train_labels, samples, task.num_classes) > 0)
        masked = self.absent_classes == "masked"
        objective = (masked_cross_entropy, held) if masked else ()
        last = (
            node.initial_parameters
        )  # its last copy of its part of the server's model; of all parts, where these change
        if self.units == "first":
            last = part(last, self.places(task, 0))
        while True:
            message, last = yield from self._received(node, task, last)
            x = message.data
            yield Report("model", x, task.metric)
            trained = yield from self.train(here, x, message.round, self.batches(node), *objective)
            yield Report("after_local_training", trained, task.metric)
            flagged = class_flags.payload(trained, held, self.codec, here) if masked else None
            yield from self.upload(node, message.round, flagged or self.codec.payload(trained, here))

    def _received(self, node: Node, task: Task, last: Value) -> Generator[Any, Any, tuple[Message, Value]]:
        """The next download, whole, and then the last copy, which what is missing is taken from. `yield from` it."""
        if self.units == "first":
            message = yield from self.download(node, last)
            return message, message.data
        message = yield from self.download(node)
        places = self.places(task, message.round)
        if message.mask is not None:
            filled = yield Compute(fill, (message.data, message.mask, part(last, places)))
            message = message._replace(data=filled, mask=None)
        return message, put(last, places, message.data)


def trained_parameters(shapes: Shapes, held: Tensor) -> Tensor:
    """bool [num_params]: all but the output layer's rows of classes that are not held. held: [num_classes], above 0 where they are."""
    rows = held > 0
    body = sum(prod(shape) for shape in shapes[:-2])
    return torch.cat((torch.ones(body, dtype=torch.bool), rows.repeat_interleave(shapes[-2][1]), rows))


def masked_cross_entropy(
    model: Any, parameters: Sequence[Tensor], inputs: Tensor, labels: Tensor, weights: Tensor, held: Tensor
) -> Tensor:
    """Cross-entropy with logits of 0 for classes that are not held. held: [num_classes], above 0 where they are."""
    logits = torch.where(held > 0, model.forward(parameters, inputs), 0.0)
    return weighted_cross_entropy(logits, labels, weights)


@op
def part(w: Tensor, indices: Tensor) -> Tensor:
    """w[indices]: a sub-network [num_indices] of a model [num_params]."""
    return w[indices]


@op
def put(w: Tensor, indices: Tensor, x: Tensor) -> Tensor:
    """w [num_params] with x [num_indices] at these places."""
    return w.scatter(0, indices, x)


@op(
    loop=True,
    ragged=("parts", "arrived", "holds", "shares"),
    flops=lambda sums, totals, parts, arrived, holds, shares, indices: 2 * parts.numel(),
)
def add_held(
    sums: Tensor, totals: Tensor, parts: Tensor, arrived: Tensor, holds: Tensor, shares: Tensor, indices: Tensor
) -> tuple[Tensor, Tensor]:
    """sums and totals [num_params] with sum_k s_k w_kj and sum_k s_k added, over clients k of one width that hold j.

    parts: m of w_k [num_indices]; arrived, holds: m of bool [num_indices], what does not arrive is not held; shares: s [m]; indices: of
    the parts in the server's model. Charged are a product and a sum a value."""
    weights = shares.unsqueeze(-1) * (arrived & holds)
    weighted = torch.where(weights > 0, weights * parts, 0)
    return sums.index_add(0, indices, weighted.sum(0)), totals.index_add(0, indices, weights.sum(0))


@op(loop=True, flops=lambda w, sums, totals: w.numel())
def mean_of_holders(w: Tensor, sums: Tensor, totals: Tensor) -> Tensor:
    """sums / totals, w where nobody holds an entry. All: [num_params]. Charged is a division a value."""
    return torch.where(totals > 0, sums / torch.where(totals > 0, totals, 1), w)
