"""Local training by stochastic gradient descent: what the algorithms have in common between two exchanges.

The hyper-parameters, and how they become one request. Plain SGD (no momentum, no weight decay, no augmentation) is
`Task.sgd_step`, everything else `learners.local_step`.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

from learners.compression.codec import Codec
from learners.fields import check_choice, check_count, check_local_work, check_number
from learners.local_step import (
    Correction,
    Finish,
    OptimizerName,
    Rule,
    displacement_step,
    gradient_step,
    local_step,
    real_share,
)
from learners.protocol import Batches, Compute, Node, Value
from learners.quantities import (
    Count,
    LearningRate,
    LearningRateOrZero,
    Momentum,
    Pixels,
    Positive,
    PositiveOrZero,
    Rounds,
    RoundsOrZero,
)
from learners.schedules import ScheduleName, learning_rate_at
from learners.task import Objective, Task

DEFAULT_CROP_PADDING = 4
DEFAULT_DECAY_FACTOR = 0.1
PLAIN = Rule()


@dataclass(frozen=True)
class LocalSgd:
    """learning_rate: of every step. batch_size: samples a minibatch.
    local_steps, local_epochs: exactly one, a number of minibatches or of passes over the device's own samples.
    local_optimizer: "sgd", or "adam" with the moments of torch.optim.Adam, where the learner can use it.
    momentum, nesterov: of "sgd", as in torch.optim.SGD. weight_decay: as there. Momentum and moments are the device's own and never
    travel.
    learning_rate_schedule: "constant", "step" or "cosine", see `learners.schedules`. warmup_rounds: of a linear rise before it.
    decay_rounds: of "step" from one drop to the next, of "cosine" until the final rate (the rounds of the run, where it has a
    number of them). decay_factor: of "step" at each drop (0.1). final_learning_rate: of "cosine" (0).
    augmentation: "none" or "crop_flip" (images only). crop_padding: pixels around an image before it is cropped (4).
    """

    task: Task
    codec: Codec
    num_rounds: int | None
    learning_rate: LearningRate = 0.1
    batch_size: Count = 16
    local_steps: Count | None = None
    local_epochs: Count | None = None
    momentum: Momentum = 0.0
    nesterov: bool = False
    weight_decay: PositiveOrZero = 0.0
    learning_rate_schedule: ScheduleName = "constant"
    warmup_rounds: RoundsOrZero = 0
    decay_rounds: Rounds | None = None
    decay_factor: Positive | None = None
    final_learning_rate: LearningRateOrZero | None = None
    augmentation: Literal["none", "crop_flip"] = "none"
    crop_padding: Pixels | None = None
    local_optimizer: OptimizerName = "sgd"

    default_local_steps: ClassVar[int | None] = None
    """Where neither local_steps nor local_epochs is given; None: one of them has to be."""
    keeps_momentum: ClassVar[bool] = False
    """The device keeps its momentum buffer from one local training to the next; else it starts from zero in each, as it
    must where a new model comes from outside."""
    trains_with_momentum: ClassVar[bool] = True
    """Local training applies the momentum; else the algorithm itself does, once a round."""
    takes_momentum: ClassVar[bool] = True
    """Has a use for momentum; else it is refused."""
    only_trains: ClassVar[bool] = False
    """Does nothing with gradients but train locally, so that Adam and models with running statistics (which travel with the model
    and are averaged as it is) may take the place of plain SGD."""
    takes_adam: ClassVar[bool] = False
    """As `only_trains`, but that running statistics would not do: models are not averaged as a whole."""
    heterogeneous: ClassVar[bool] = False
    """Works where devices have different architectures."""
    needs_classes: ClassVar[bool] = False
    """Works with labels of samples or representations of classes, which control problems (`learners.control`) have not."""
    needs_links: ClassVar[bool] = False
    """Decides about the links of the network that it runs on: works with data "observed_links" only."""
    sends: ClassVar[bool] = True
    """Sends messages at all."""

    def __post_init__(self) -> None:
        check_count("num_rounds", self.num_rounds, optional=True)
        check_number("learning_rate", self.learning_rate)
        check_count("batch_size", self.batch_size)
        if self.local_steps is None and self.local_epochs is None:
            object.__setattr__(self, "local_steps", self.default_local_steps)
        check_local_work(self.local_steps, self.local_epochs)
        check_number("momentum", self.momentum, zero=True)
        if self.momentum >= 1:
            raise ValueError(f"momentum = {self.momentum!r}: less than 1")
        if self.momentum and not self.takes_momentum:
            raise ValueError(f"momentum = {self.momentum!r}: this method is for plain SGD; 0")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = True: needs momentum above 0")
        check_number("weight_decay", self.weight_decay, zero=True)
        check_choice("local_optimizer", self.local_optimizer, ("sgd", "adam"))
        if self.local_optimizer == "adam" and not (self.only_trains or self.takes_adam):
            raise ValueError('local_optimizer = "adam": this method works on the gradients of plain SGD; "sgd"')
        if self.local_optimizer == "adam" and self.momentum:
            raise ValueError(f'momentum = {self.momentum!r}: of local_optimizer = "sgd" only, Adam has its own; 0')
        self._check_schedule()
        self._check_augmentation()

    def _check_schedule(self) -> None:
        schedule = self.learning_rate_schedule
        check_choice("learning_rate_schedule", schedule, ("constant", "step", "cosine"))
        check_count("warmup_rounds", self.warmup_rounds, zero=True)
        check_count("decay_rounds", self.decay_rounds, optional=True)
        self._only_with("decay_rounds", schedule != "constant", "a schedule that is not constant")
        self._only_with("decay_factor", schedule == "step", "the step schedule", DEFAULT_DECAY_FACTOR)
        self._only_with("final_learning_rate", schedule == "cosine", "the cosine schedule", 0.0)
        check_number("decay_factor", self.decay_factor, optional=True)
        check_number("final_learning_rate", self.final_learning_rate, optional=True, zero=True)
        if schedule == "cosine" and self.decay_rounds is None and self.num_rounds is not None:
            rounds = self.num_rounds - self.warmup_rounds
            if rounds < 1:
                raise ValueError(
                    f"warmup_rounds = {self.warmup_rounds}: fewer than the {self.num_rounds} rounds of the run"
                )
            object.__setattr__(self, "decay_rounds", rounds)
        if schedule != "constant" and self.decay_rounds is None:
            raise ValueError(f"decay_rounds = None: the {schedule} schedule needs a number of rounds")

    def _check_augmentation(self) -> None:
        check_choice("augmentation", self.augmentation, ("none", "crop_flip"))
        check_count("crop_padding", self.crop_padding, optional=True)
        crops = self.augmentation == "crop_flip"
        self._only_with("crop_padding", crops, "augmentation by crop_flip", DEFAULT_CROP_PADDING)
        shape = getattr(getattr(self.task, "dataset", None), "input_shape", None)
        if shape is not None:
            self.check_samples(shape)

    def check_samples(self, input_shape: Sequence[int]) -> None:
        """Raise ValueError unless the learner can work with samples of this shape."""
        if self.augmentation == "crop_flip" and len(input_shape) != 3:
            raise ValueError(f"augmentation = 'crop_flip': needs images, samples have the shape {tuple(input_shape)}")

    def _only_with(self, key: str, holds: bool, condition: str, default: float | None = None) -> None:
        """The key means something only if `holds`; where it is left out then, it takes the default."""
        value = getattr(self, key)
        if value is not None and not holds:
            raise ValueError(f"{key} = {value!r}: only with {condition}")
        if value is None and holds:
            object.__setattr__(self, key, default)

    @cached_property
    def rule(self) -> Rule:
        momentum, nesterov = (self.momentum, self.nesterov) if self.trains_with_momentum else (0.0, False)
        return Rule(momentum, nesterov, self.weight_decay, self.crop_padding, self.local_optimizer)

    def batches(self, node: Node) -> Batches:
        """The minibatches of one local training."""
        return node.batches(
            self.batch_size, steps=self.local_steps, epochs=self.local_epochs, crop_padding=self.crop_padding
        )

    def rate(self, node: Node, k: int) -> Any:
        """The learning rate of round k. One that changes is a tensor, so that all rounds share their ops."""
        if self.learning_rate_schedule == "constant" and not self.warmup_rounds:
            return self.learning_rate
        rate = learning_rate_at(
            k,
            self.learning_rate,
            self.learning_rate_schedule,
            self.warmup_rounds,
            self.decay_rounds or 1,
            self.decay_factor or DEFAULT_DECAY_FACTOR,
            self.final_learning_rate or 0.0,
        )
        return node.tensor(rate)

    def train(
        self,
        node: Node,
        x: Value,
        k: int,
        batches: Batches,
        objective: Objective | None = None,
        *args: Any,
        correction: Correction | None = None,
    ) -> Generator[Compute, Any, Value]:
        """x [num_params] after one step on each of the batches, at the rate of round k. `yield from` it.

        objective, correction: what is minimized instead of the task's own objective, what is added to its gradient; args: of
        either, see `learners.local_step`
        """
        task, rule, rate = node.task, self.rule, self.rate(node, k)
        if (
            rule == PLAIN and objective is None and correction is None and getattr(task, "plain", True)
        ):  # an OwnTask does not say
            return (yield Compute(task.sgd_step.scan, (x, batches.steps, rate), work=batches.work))
        objective = objective or task.objective
        step = local_step(task, objective, rule, correction).scan
        state = rule.start(task)
        if state and self.keeps_momentum:
            state = node.state.get("optimizer", state)
        carry = (x, *state) if state else x
        work = batches.work
        if hasattr(objective, "extra_flops"):  # others cost nothing but what samples cost
            work = real_share(step, carry, batches, rate, *args)
        trained = yield Compute(step, (carry, batches.steps, rate, *args), work=work)
        if not state:
            return trained
        x, *state = trained
        if self.keeps_momentum:
            node.state["optimizer"] = tuple(state)
        return x

    def adapt(
        self, node: Node, x: Value, k: int, batches: Batches, finish: Finish, *args: Any
    ) -> Generator[Compute, Any, Any]:
        """finish(x, g, learning_rate, *args) with g [num_params] the gradient of the local work at x. `yield from` it.

        Of one plain step it is the gradient of its minibatch (one op with `finish`); of several, or of steps with momentum, the
        pseudo-gradient (x - x') / learning_rate of the model x' after local training: the sum of the steps' gradients.
        """
        task, rule, rate = node.task, self.rule, self.rate(node, k)
        if batches.num_steps == 1 and not rule.momentum:
            step = gradient_step(task, task.objective, rule, finish)
            return (yield Compute(step, (x, batches.steps, rate, *args), work=batches.work))
        trained = yield from self.train(node, x, k, batches)
        return (yield Compute(displacement_step(task, finish), (x, trained, rate, *args)))
