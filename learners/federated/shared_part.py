"""One part of every client's model is common, travels and is averaged; the rest stays at its device.

    w_k = [theta | omega_k]     theta: as the server sent it,  omega_k: the device's own, from round to round
    theta <- sum_{k in S_t} p_k theta_k,   p_k = n_k / sum_{j in S_t} n_j

With two models the part is a whole one: the shared model is that of [model], which the server has, the private ones are those of
[model] variants, one architecture a device. A pair of them is a model of one flat row, [shared | private | what joins them], so that
steps, evaluation and counts of FLOPs are those of any model, and devices of one architecture run together.

A client begins with a theta that it draws for itself: with that it answers until it is invited for the first time, so that all devices
count in means from the start, and of that are the missing numbers of a first download that arrives in part. Those of a later one stay as in
its last copy of theta; those of an upload count as the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from learners.averaging import average, average_masked, fill, full_masks
from learners.compression.codec import check_for_models
from learners.deferred import Op, op
from learners.federated.server_sgd import ServerSgd
from learners.models.flat import Model, unflatten
from learners.protocol import Compute, Node, Payload, Program, Report, Value, rounds
from learners.task import Task

AFTER_LOCAL_TRAINING = "after_local_training"


@dataclass(frozen=True)
class SharedPartSgd(ServerSgd):
    """Rounds as in `ServerSgd`, of a part that all have in common."""

    needs_classes: ClassVar[bool] = True
    heterogeneous: ClassVar[bool] = True
    shared_head: ClassVar[str | None] = None
    """Under which name the server reports the shared model, where that can answer alone; one of `reports`."""
    heads: ClassVar[Mapping[str, str]] = {}
    """What a device reports beside "model": the name, and the method of the pair that answers."""
    what_is_sent: ClassVar[str] = "whole models"
    """For messages."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_for_models(self.codec, self.what_is_sent)

    def server(self, node: Node) -> Program:
        theta = self.initial_part(node)
        for k in rounds(self.num_rounds):
            clients = yield from self.invite(node, k, self.codec.payload(theta, node))
            updates = yield from self.collect(node, clients, k)
            if updates.messages:
                shares, masks = self.shares(node, updates), full_masks(updates)
                if masks is None:
                    theta = yield Compute(average, (updates.data, shares))
                else:
                    theta = yield Compute(average_masked, (updates.data, shares, masks, theta))
            if self.shared_head is not None:
                yield Report(self.shared_head, theta)
            yield Report("model", None)

    def initial_part(self, node: Node) -> Value:
        """theta at the server before the first round."""
        return node.initial_parameters

    def drawn_part(self, node: Node) -> Value:
        """A theta of the client's own, from a stream apart."""
        return self.task.initial_parameters(node.rng.spawn(1)[0])

    def received_part(self, node: Node, last: Value) -> Generator[Any, Any, tuple[int, Value]]:
        """The round of the newest download, and its theta. last: what the client has had up to now. `yield from` it."""
        message = yield from self.download(node)
        if message.mask is None:
            return message.round, message.data
        return message.round, (yield Compute(fill, (message.data, message.mask, last)))

    def shared_payload(self, node: Node, theta: Value) -> Payload:
        """theta as a client sends it, tensor by tensor as the server would."""
        return self.codec.payload(theta, with_task(node, self.task))

    def pair(self, node: Node, make: Callable[[Model, Model], Model]) -> Task:
        """The task of the pair make(shared model, private model), one for all devices of an architecture."""
        found = self._pairs.get(node.task)
        if found is None:
            found = self._pairs[node.task] = node.task.with_model(make(self.task.model, node.task.model))
        return found

    def report(self, task: Task, x: Value, *, trained: bool = False) -> Generator[Report, Any, None]:
        """All heads of the row x of a pair. trained: by this device, since it last heard of the others. `yield from` it."""
        for head, method in {"model": "forward", **self.heads}.items():
            yield Report(after_local_training(head) if trained else head, x, head_metric(task, method))

    def report_first(self, task: Task, x: Value) -> Generator[Report, Any, None]:
        """All heads of the row x of a pair before the first download. `yield from` it."""
        yield from self.report(task, x)
        yield from self.report(task, x, trained=True)

    @cached_property
    def _pairs(self) -> dict[Task, Task]:
        return {}


def after_local_training(head: str) -> str:
    """The name of a head's report after local training."""
    return AFTER_LOCAL_TRAINING if head == "model" else f"{head}/{AFTER_LOCAL_TRAINING}"


def reports_of(heads: Iterable[str]) -> tuple[str, ...]:
    """All names beside "model" that devices with these heads report."""
    return (*heads, *map(after_local_training, ("model", *heads)))


def with_task(node: Node, task: Task) -> Node:
    """The node, as if its task were another one."""
    return cast(Node, _WithTask(node, task))


class _WithTask:
    def __init__(self, node: Node, task: Task) -> None:
        self._node = node
        self.task = task

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)


@op
def in_one_row(parts: tuple[Tensor, ...]) -> Tensor:
    """Vectors one behind the other."""
    return torch.cat(parts)


@op
def parts_of(x: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The inverse of `in_one_row`: vectors of these lengths."""
    return tuple(part.clone() for part in x.split(sizes))


def head_metric(task: Task, head: str) -> Op:
    """(x, inputs [n, ...], labels [n]) -> (correct [n] bool, losses [n]) of the logits that the model's method `head` (parameters,
    inputs) gives; the task's own score."""
    model, prepared = task.model, task.samples.prepared

    def metric(x: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        inputs = prepared(inputs).reshape(-1, *model.input_shape)
        return task.score(getattr(model, head)(unflatten(x, model.shapes), inputs), labels)

    return task.op(("head", head), lambda: Op(metric, name=f"metric_{head}", loop=model.has_convolution))
