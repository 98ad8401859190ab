"""CCL: cross-feature contrastive loss for decentralized learning on heterogeneous data.

Aketi and Roy, WACV 2024 (arXiv 2310.15890), as its public code runs it (aparna-aketi/Cross_feature_Contrastive_Loss); the
paper's own formulas could not be compared. In every round, at device i with neighbors j:

    exchange 1   x_i to all neighbors
    mix          xb_i <- x_i + gamma sum_j W_ij (x_j - x_i)
    exchange 2   class sums S_ji of the neighbors' representations of own samples, with counts, to each neighbor its own
    step         x_i  <- xb_i - lr u,   u from the gradient of the contrastive loss at xb_i        (`cross_features`)

    loss = cross-entropy + lambda_m * (own against neighbors' representations of own samples)
                         + lambda_d * (own representations against the class means over the neighborhood)

With quasi_global = true the momentum loses the displacement by mixing first, m <- m - (xb_i - x_i) / lr', lr' the rate of the
round before (the code's form of quasi-global momentum, "ccl-code" of `qg_dsgdm`); else it is the device's own. lambda_m =
lambda_d = 0 is that method, or D-PSGD with form = "mix_first", bit by bit.

Sends, per round: its model to all neighbors at once, 32 * num_params bits with float32; then to each neighbor 32 (C F + C) bits (C
classes, F features; class_sums = "dense") or, with "sparse", the rows of the k classes of its minibatch only: 8 ceil(C / 8) +
32 k (F + 1). Without lambda_d there is no second exchange. Estimates of sparse class sums assume the largest k.

The code's: order, losses, one minibatch a round; sums of neighbors are taken with their models as received, own ones with the mixed
model. Readings: gradient_point = "own" takes the gradient at x_i instead of xb_i, as the text of papers of this family often
has it. Ours: Metropolis weights where degrees differ, several local steps (their minibatches share one exchange of class sums; with
quasi_global their pseudo-gradient takes the place of the gradient), a deadline of each exchange.
Lost messages: a neighbor whose model is missing is left out of the average (its weight returns to the device), of the first
contrastive term, and gets an empty message instead of class sums; class sums that are missing are left out of numerator and denominator of the class
means. A model that arrives in part is completed by the own one, coordinate by coordinate. The theory of the methods below has no losses in it; the contrastive terms carry nothing from round to round.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from learners.decentralized import class_sums
from learners.decentralized.cross_features import compare, contrastive_step, mix_and_compare, pooled
from learners.decentralized.mix_first import MixFirst, completed
from learners.decentralized.neighbor_sgd import Heard
from learners.decentralized.qg_dsgdm import MIX_AND_DISPLACE, stepped_with_buffer
from learners.deferred import op
from learners.fields import check_choice, check_number
from learners.local_step import displacement_step
from learners.protocol import Batches, Compute, Node, Program, Report, Value
from learners.quantities import PositiveOrZero
from learners.task import Task


@dataclass(frozen=True)
class Ccl(MixFirst):
    """model_weight: lambda_m. data_weight: lambda_d. gradient_point: "mixed" or "own", see above. class_sums: "dense" or
    "sparse", how they are sent."""

    model_weight: PositiveOrZero = 0.1
    data_weight: PositiveOrZero = 0.1
    gradient_point: Literal["mixed", "own"] = "mixed"
    class_sums: Literal["dense", "sparse"] = "dense"

    needs_classes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("model_weight", self.model_weight, zero=True)
        check_number("data_weight", self.data_weight, zero=True)
        check_choice("gradient_point", self.gradient_point, ("mixed", "own"))
        check_choice("class_sums", self.class_sums, ("dense", "sparse"))
        if self.class_sums == "sparse":
            object.__setattr__(self, "value_dependent", True)

    def program(self, node: Node) -> Program:
        x, k = node.initial_parameters, 0  # x: [num_params]
        rate: Any = None  # of the round before
        contrasts = self.model_weight or self.data_weight
        while self.goes_on(k):
            batches = self.batches(node)
            heard = yield from self.listen(node, k, x)
            displaced = (node.state["momentum"], rate) if self.quasi_global and rate is not None else ()
            adapt = self._contrastive if contrasts else self._plain
            mixed, trained = yield from adapt(node, k, x, heard, batches, displaced)
            x = trained if self.gradient_point == "mixed" else (yield Compute(moved, (mixed, trained, x)))
            rate = self.rate(node, k)
            yield Report("after_local_training", x)
            k = yield from self.close(node, x, heard)

    def _mix(self, node: Node, x: Value, heard: Heard, displaced: tuple[Any, ...]) -> Generator[Any, Any, Value]:
        """xb; the momentum buffer loses the displacement."""
        if not displaced:
            return (yield from heard.mix(x, x))
        mixed, node.state["momentum"] = yield from heard.combine(MIX_AND_DISPLACE, x, *displaced)
        return mixed

    def _plain(
        self, node: Node, k: int, x: Value, heard: Heard, batches: Batches, displaced: tuple[Any, ...]
    ) -> Generator[Any, Any, tuple[Value, Value]]:
        """xb and the model after local training, without contrastive terms."""
        mixed = yield from self._mix(node, x, heard, displaced)
        start = mixed if self.gradient_point == "mixed" else x
        if not self.quasi_global:
            return mixed, (yield from self.train(node, start, k, batches))
        args = (self._buffer(node), self.momentum, self.nesterov)
        trained, node.state["momentum"] = yield from self.adapt(node, start, k, batches, stepped_with_buffer, *args)
        return mixed, trained

    def _contrastive(
        self, node: Node, k: int, x: Value, heard: Heard, batches: Batches, displaced: tuple[Any, ...]
    ) -> Generator[Any, Any, tuple[Value, Value]]:
        """As `_plain`, with contrastive terms."""
        heard = yield from completed(heard, x)
        equally_many = self.local_steps is not None and not node.task.model.has_convolution
        look = self._compare if batches.num_steps == 1 or equally_many else self._compare_several
        mixed, others, counts, sums = yield from look(node, x, heard, batches, displaced)
        tables, numbers = yield from self._exchange_sums(node, heard, batches, counts, sums)
        about = node.tensor(float(len(heard.values))), tables, numbers
        start = mixed if self.gradient_point == "mixed" else x
        return mixed, (yield from self._steps(node, k, start, batches, others, about))

    def _compare(
        self, node: Node, x: Value, heard: Heard, batches: Batches, displaced: tuple[Any, ...]
    ) -> Generator[Any, Any, Compared]:
        """Mixing and comparing in one op, for steps that are as many on every device."""
        models = heard.values
        args = (x, models, heard.weights, node.tensor(float(len(models))), batches.steps, displaced)
        mixed, *found = yield Compute(mix_and_compare(*self._keys(node)), args, work=batches.work)
        if displaced:
            node.state["momentum"], *found = found
        others, sums = found[: batches.num_steps], found[batches.num_steps :]
        return (mixed, others, sums[0], sums[1 : 1 + len(models)]) if sums else (mixed, others, None, [])

    def _compare_several(
        self, node: Node, x: Value, heard: Heard, batches: Batches, displaced: tuple[Any, ...]
    ) -> Generator[Any, Any, Compared]:
        """Mixing, then the minibatch of each step by itself: devices with more steps share the op, and images take no memory for
        all steps at once."""
        mixed, models = (yield from self._mix(node, x, heard, displaced)), heard.values
        zeros = node.task.zero_parameters
        if not models:
            shape = (batches.indices.shape[1], node.task.model.feature_dim)
            return mixed, [zeros.new_zeros(shape)] * batches.num_steps, None, []
        operation, num_models = compare(*self._keys(node)), node.tensor(float(len(models)))
        others, counts, sums = [], [], []
        for steps in batches.each():
            found = yield Compute(operation, (x, models, num_models, steps), work=batches.work)
            others.append(found[0])
            if self.data_weight:
                counts.append(found[1])
                sums.append(found[2])
        if not counts:
            return mixed, others, None, []
        total, *tables = yield Compute(pooled, (zeros.new_zeros(node.task.num_classes), counts, sums))
        return mixed, others, total, tables[: len(models)]

    def _keys(self, node: Node) -> tuple[Task, int | None, bool]:
        """Of the ops that compare."""
        return node.task, self.crop_padding, self.data_weight > 0

    def _exchange_sums(
        self, node: Node, heard: Heard, batches: Batches, counts: Value, sums: list[Value]
    ) -> Generator[Any, Any, tuple[list[Value], list[Value]]]:
        """Exchange 2: S_ij and N_j of what came back; zeros of one device where nothing did."""
        back: Any = ()
        if self.data_weight:
            payload = class_sums.dense
            if self.class_sums == "sparse":
                payload = class_sums.sparse
                counts = class_sums.class_counts(node, batches, node.all_samples(self.batch_size))
            senders = heard.received.senders
            payloads = {j: payload(own, counts, self.codec, node) for j, own in zip(senders, sums, strict=True)}
            back = yield from self.give_back(node, heard, payloads)
        if not back:
            num_classes = node.task.num_classes
            zeros = node.task.zero_parameters.new_zeros((num_classes, 1 + node.task.model.feature_dim))
            return [zeros[:, 1:]], [zeros[:, 0]]
        return [message.data[0] for message in back], [message.data[1] for message in back]

    def _steps(
        self, node: Node, k: int, start: Value, batches: Batches, others: list[Value], about: tuple[Any, ...]
    ) -> Generator[Any, Any, Value]:
        """`start` after the local steps on the contrastive loss."""
        rate, once = self.rate(node, k), self.quasi_global and batches.num_steps > 1
        rule = self.rule if once else self.full_rule
        step = contrastive_step(node.task, rule, float(self.model_weight), float(self.data_weight))
        carry = (start, self._buffer(node)) if rule.momentum else start
        for steps, of_step in zip(batches.each(), others, strict=True):
            carry = yield Compute(step, (carry, of_step, *about, steps, rate), work=batches.work)
        if once:
            args = (start, carry, rate, self._buffer(node), self.momentum, self.nesterov)
            carry = yield Compute(displacement_step(node.task, stepped_with_buffer), args)
        if rule.momentum or once:
            carry, node.state["momentum"] = carry
        return carry

    def _buffer(self, node: Node) -> Value:
        return node.state.get("momentum", node.task.zero_parameters)


Compared = tuple[Value, list[Value], Value, list[Value]]
"""xb; sum_j Z_ji of every step; N_i; S_ji of the neighbors in the order of their messages."""


@op(flops=lambda mixed, trained, x: 2 * x.numel())
def moved(mixed: Tensor, trained: Tensor, x: Tensor) -> Tensor:
    """xb + (x' - x): the step of a gradient at x, taken from xb. All: [num_params]."""
    return mixed + (trained - x)
