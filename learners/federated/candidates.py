"""Whom a server takes once it has asked: selection under a deadline and by loss.

Nishio and Yonetani, "Client selection for federated learning with heterogeneous resources in mobile edge", ICC 2019 (arXiv
1804.08333), Algorithm 3 (FedCS): "deadline". Cho, Wang and Joshi, "Client selection in federated learning: convergence analysis and
power-of-choice selection strategies" (arXiv 2010.01243): "loss".

    deadline   C candidates, drawn at random, report t_UD and t_UL, the seconds of their work and of their upload. From theta = 0 and
               S = {}, again and again of those that are left the one x with the least

                   T_d(S + x) - T_d(S) + t_UL + max(0, t_UD - theta)

               leaves the list; if T_d(S + x) + theta' < T with theta' = theta + t_UL + max(0, t_UD - theta), it joins S and theta <- theta'.
    loss       C candidates, drawn in proportion to their numbers of samples without replacement, get what the server sends; each
               reports the mean loss over its own samples at that model, and the K largest train from it

Uploads follow each other, theta is when the last one ends; T: deadline_s; T_d: the download, bits over the rate that the server looks at,
added up over S for unicasts and that of the slowest for a broadcast.

Sends, per round: what asks to each candidate ("deadline": a packet without a payload; "loss": the download) and its report, 64 or 32 bits;
then to those chosen the download, or for "loss", which have it, a packet without a payload. Reports travel as anything else: who is not
heard in time is not chosen, and of a round in which nobody is, nothing comes.

Ours: a device tells what it has seen itself, the seconds from its last download to its last upload and the bits of that over the rate to
the server that it sees now, 0 before its first; the round's deadline begins with the download; if nobody fits, the first
of the list is taken alone; at most clients_per_round where that is given. An estimate knows no losses and draws.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from math import inf, isfinite
from typing import Any, NamedTuple

from torch import Tensor

from learners.deferred import Op
from learners.federated.selection import largest
from learners.models.flat import unflatten
from learners.protocol import SERVER, Compute, Node, NotFiniteError, Observe, Payload, Read, Received, Send, Value
from learners.task import Task
from learners.values import Deferred

ASKING = ("deadline", "loss")
NUMBER_BITS = 32
NOTHING = Payload(None, 0)


class Work(NamedTuple):
    """What a device has seen of its own work: seconds from its last download to the upload that followed, and that one's bits."""

    seconds: float = 0.0
    upload_bits: int = 0


# -- server ------------------------------------------------------------------------------------------------------------


def drawn_by_samples(node: Node, number: int) -> list[int]:
    """Clients of those present, in proportion to their samples without replacement, ascending; who holds none comes last."""
    holders = [client for client in node.devices if node.samples_of[client] > 0]
    others = [client for client in node.devices if node.samples_of[client] == 0]
    if number >= len(holders):
        return sorted([*holders, *others[: number - len(holders)]])
    total = sum(node.samples_of[client] for client in holders)
    shares = [node.samples_of[client] / total for client in holders]
    return sorted(node.rng.choice(holders, number, replace=False, p=shares).tolist())


def in_time(
    node: Node, reports: Received, download_bits: int, *, broadcast: bool, deadline_s: float, number: int | None
) -> Generator[Observe, Any, list[int]]:
    """The clients that FedCS takes, ascending. `yield from` it."""
    download_s = {}
    for client in reports.senders:
        rate = yield Observe("rate", client)
        download_s[client] = download_bits / rate if rate > 0 else inf
    times = {message.sender: message.data for message in reports.messages}
    return fitting(times, download_s, max if broadcast else sum, deadline_s, number)


def fitting(
    times: Mapping[int, tuple[float, float]],
    download_s: Mapping[int, float],
    together: Callable[[Sequence[float]], float],
    deadline_s: float,
    number: int | None = None,
) -> list[int]:
    """S above, ascending. times: t_UD and t_UL by client; together: the download's seconds of several from those of each, all above
    0; number: at most so many."""
    chosen: list[int] = []
    theta, first = 0.0, None
    left = sorted(times)

    def after(client: int) -> float:
        work_s, upload_s = times[client]
        return theta + upload_s + max(0.0, work_s - theta)

    def download(client: int) -> float:
        return together([download_s[one] for one in (*chosen, client)])

    while left and (number is None or len(chosen) < number):
        best = min(left, key=lambda client: (download(client) + after(client), client))
        first = best if first is None else first
        left.remove(best)
        if download(best) + after(best) < deadline_s:
            theta = after(best)
            chosen.append(best)
    return sorted(chosen) if chosen or first is None else [first]


def highest_losses(node: Node, reports: Received, number: int) -> Generator[Read, Any, list[int]]:
    """The clients with the largest losses, ascending; equal ones, and all in an estimate, are drawn. `yield from` it."""
    losses = {}
    for message in reports.messages:
        loss = message.data
        estimated = isinstance(loss, Deferred) and loss.shape_only
        losses[message.sender] = 0.0 if estimated else float((yield Read(loss)))
        if not isfinite(losses[message.sender]):
            says = f"the loss that client {message.sender} reports is {losses[message.sender]}"
            raise NotFiniteError(f"{says} (a learning rate too large?)")
    return largest(node, losses, number)


# -- client ------------------------------------------------------------------------------------------------------------


def report_times(
    node: Node, k: int, work: Work, expires_s: float | None, to: int = SERVER
) -> Generator[Any, Any, None]:
    """t_UD and t_UL, on their way to who asks. `yield from` it."""
    upload_s = 0.0
    if work.upload_bits:
        rate = yield Observe("rate", to)
        upload_s = work.upload_bits / rate if rate > 0 else inf
    yield Send([to], "report", k, Payload((work.seconds, upload_s), 2 * NUMBER_BITS), expires_s=expires_s)


def report_loss(
    node: Node, k: int, x: Value, batch_size: int, expires_s: float | None, to: int = SERVER
) -> Generator[Any, Any, None]:
    """The mean loss at x [num_params] over the device's own samples, on its way to who asks. `yield from` it."""
    samples = node.all_samples(batch_size)
    args = (node.tensor(0.0), samples.steps, x, node.tensor(node.num_samples))
    value = yield Compute(mean_loss(node.task).scan, args, work=samples.work)
    yield Send([to], "report", k, Payload(value, NUMBER_BITS), expires_s=expires_s)


def mean_loss(task: Task) -> Op:
    """(mean, indices [B], weights [B], x, num_samples) -> mean with these training samples' part of the mean loss added."""
    model, objective = task.model, task.objective

    def part(mean: Tensor, indices: Tensor, weights: Tensor, x: Tensor, num_samples: Tensor) -> Tensor:
        inputs, labels = task.training_samples(indices)
        loss = objective(model, unflatten(x, model.shapes), inputs, labels, weights)
        return mean + loss * weights.sum() / num_samples.clamp(min=1)

    return task.op("mean_loss", lambda: Op(part, name="mean_loss", loop=model.has_convolution))
