"""The seam between a learning algorithm and whatever runs it.

An algorithm is a frozen dataclass of hyper-parameters whose `program(node)` is a generator of the plain requests below
(named tuples: as immutable as a frozen dataclass, and made in a third of its time). The simulator (`wsim.driver`) answers them in simulated time; `learners.loopback` answers them at once. An algorithm
never sees a clock, an event or another node's state: only its own `Node` and what it received.

Devices may leave, come back or fail (churn, empty batteries). A program of a device that is away stands still and goes on where
it stood, with its own state; what was sent to it meanwhile is lost. That of a device that fails is closed. `Node.neighbors`, and
a server's `Node.devices`, are those present. A `Receive` does not wait for a named sender that goes or is away or has gone on to
a later round, nor, of a round and between devices one of which has been away, for one that did not have this node among its
neighbors when it last asked for them; `Outcome` of what was sent to one that is away is "lost".

    request                       answered with
    Compute(op, args)             the op's result (a tensor or a `Deferred`), after the processor's time
    Send(to, kind, round, p)      a `Ticket`, once p is encoded; the message travels while the program goes on
    Receive(senders, kind, round) a `Received`, when complete or timed out
    Outcome(ticket)               "delivered" | "lost" | "unknown", when the sender learns it
    Sleep(duration_s)             None, later
    Read(value)                   the value itself, as a tensor (forces deferred work; costs batching)
    Report(name, value, metric)   None, at once; the engine evaluates it at the scenario's evaluation times
    Measure(name, value)          None, at once; kept, and recorded at the scenario's evaluation times
    AwaitJoin()                   a `Joined`, as soon as somebody joins the neighborhood
    Observe(what, peer)           position | battery | max_power | gain | snr | rate | time | membership | link | link_rate, at the scenario's stated cost
    Actuate(what, value)          None, at once: transmit power (dBm) or channel index, from now on
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

    from learners.task import Task

Value = Any  # a tensor, a Deferred, or a tuple of them
Program = Generator[Any, Any, None]

SERVER = -1
"""The id of the server where the scenario has one; devices are 0 .. num_devices - 1."""


class NotFiniteError(ValueError):
    """A program has come upon numbers that are not finite where it needs finite ones (a learning rate too large?)."""


# -- what travels -----------------------------------------------------------------------------------------------------


class Payload(NamedTuple):
    """What a message carries. `data` is what the receiver will hold (decoded), `num_bits` the exact length of the codec's
    encoding, `codec` what turns packet losses into coordinate masks (a `learners.compression.codec.Fragments`; None: the
    payload is all or nothing), `flops` the work of encoding it, which `Send` charges to the sender's processor."""

    data: Value
    num_bits: int
    codec: Any = None
    num_values: int = 0
    flops: int = 0


class Message(NamedTuple):
    """One received message. `mask` is None when all of it arrived, else a bool tensor [num_values], True where it did.
    `degree` is the number of neighbors the sender had when it sent, in the header (16 bits). `coefficient` is the
    amplitude gain of an analog send, else None."""

    sender: int
    kind: str
    round: int
    data: Value
    mask: Any = None
    degree: int = 0
    coefficient: float | None = None


class Received(NamedTuple):
    """The answer to `Receive`: messages ordered by sender id where senders were named, by arrival otherwise."""

    messages: tuple[Message, ...]
    missing: tuple[int, ...] = ()
    combined: Value = None
    noise: Any = None  # analog only: unit-variance noise tensor [num_values], drawn by the receiver's stream
    newer: int | None = None  # nobody answered in this round, and others are further: the lowest round heard of
    alone: bool = (
        False  # nobody answered, nobody is known to be further: a device among others that it did not wait for
    )
    late: tuple[Message, ...] = ()  # where asked for: what came after its round was over, the newest of each sender
    newest: int | None = None  # others are further: the newest round heard of

    @property
    def data(self) -> list[Value]:
        return [message.data for message in self.messages]

    @property
    def senders(self) -> list[int]:
        return [message.sender for message in self.messages]

    @property
    def masks(self) -> list[Any] | None:
        """Per-message masks, or None if every message is whole."""
        if all(message.mask is None for message in self.messages):
            return None
        return [message.mask for message in self.messages]


class Ticket(NamedTuple):
    """Names a sent message, for `Outcome`."""

    number: int


@dataclass(frozen=True, slots=True)
class Joined:
    """`node` came into the present neighborhood."""

    node: int


@dataclass(frozen=True, slots=True)
class Left:
    """`node` left the present neighborhood."""

    node: int


class Operation(Protocol):
    """What can be computed: `learners.deferred.Op` or its `.scan`."""

    name: str

    def __call__(self, *args: Any) -> Value: ...

    def flops(self, *args: Any) -> int:
        """Floating-point operations of one call, from shapes alone."""

    def priced(self, *args: Any) -> tuple[Value, int]:
        """The call and its FLOPs."""


# -- requests ---------------------------------------------------------------------------------------------------------


class Compute(NamedTuple):
    """Run an op (or its `.scan`) on the node's processor: FLOPs / effective FLOP/s of simulated time.

    work: fraction of the counted FLOPs that is real work (padding is not charged)."""

    op: Operation
    args: tuple[Any, ...] = ()
    work: float = 1.0


class Send(NamedTuple):
    """Send `payload` to `to` (an id or several), after the processor's time for `payload.flops` (none: at once).
    broadcast: one transmission for all of them, else one unicast each.
    expires_s: what has not arrived by then is dropped (None: the scenario's transport default): what is on the air ends at
    once, the packet under way is not finished. expires_at_s: the same at an instant of the run; nothing is put on the air after it.
    analog: an uncoded over-the-air transmission of num_values real numbers instead of packets. analog_snr_db: the sender lowers
    its power until it arrives with this SNR, or is silent (the message's coefficient is 0) where its power does not reach;
    None: full power."""

    to: int | Sequence[int]
    kind: str
    round: int
    payload: Payload
    broadcast: bool = False
    expires_s: float | None = None
    analog: bool = False
    analog_snr_db: float | None = None
    expires_at_s: float | None = None


class Receive(NamedTuple):
    """Wait for messages of `kind` and `round` (None: any round) from `senders` (None: anyone).

    Complete when all of `senders`, or `count` of them, have arrived; at `timeout_s` it is answered with what there is.
    senders=None needs a count or a timeout. combine: fold messages as they arrive, `state = combine(state, message)`
    from `initial`, instead of keeping them (then `Received.messages` holds them without data).
    late: what comes after its round is over is kept, the newest of each sender, and handed over with the next answer; else
    it is not used. until_change: answered with what there is, too, as soon as somebody goes away, or joins the
    neighborhood."""

    senders: Sequence[int] | None
    kind: str
    round: int | None = None
    count: int | None = None  # type: ignore[assignment]  # hides tuple.count
    timeout_s: float | None = None
    combine: Callable[[Any, Message], Any] | None = None
    initial: Any = None
    late: bool = False
    until_change: bool = False


class Outcome(NamedTuple):
    """What became of a sent message; "unknown" at once where the transport gives no feedback."""

    ticket: Ticket


class Sleep(NamedTuple):
    duration_s: float


class Read(NamedTuple):
    value: Value


class Report(NamedTuple):
    """Offer a value for evaluation. name: "model" for what the method's accuracy is of, any other that the learner lists in
    `reports` beside it. metric: an op (value, inputs [n, ...], labels [n]) -> correct [n], or (correct [n], losses [n]),
    instead of that of the node's task; or the accuracy, a scalar, which is slower on devices' own test samples. The name
    "model" closes a round of the node; with value None it does only that (a server without a model). round: the one that is
    closed, for a program that may leave some out."""

    name: str
    value: Value
    metric: Any = None
    round: int | None = None


class Measure(NamedTuple):
    """What a device measures of the algorithm itself: weights, distances. name: one that the learner lists in `measures`; value:
    [n], a number for each of its components, which takes the place of the last one; None: there is none any more. Costs nothing,
    is nobody else's to see, and only what is there at an evaluation is recorded. device: of which the server measures it; a
    device measures of itself."""

    name: str
    value: Value
    device: int | None = None


class AwaitJoin(NamedTuple):
    """Wait until a node comes into the neighborhood; answered with `Joined`. For who finds nobody there."""


class Observe(NamedTuple):
    """what: "position" [3] m | "battery" J left | "max_power" dBm | "gain" dB to peer, whatever is sent | "snr" here of what
    peer sends at its full power, over the band, not in dB | "rate" bit/s to peer | "time" s |
    "membership" (a tuple of Joined and Left since last asked) | "link" (sender, receiver), the ids of the pair that this device is in
    now, None where it is idle (`wsim.flows`: pairs as [data] observed_links says, else by neighbor_mean_snr_db and update_every_s of
    [topology]) | "link_rate" bit/s/Hz of that pair if all pairs sent now with the powers that are set, None where it is idle: a genie's
    number for `Measure`, which costs nothing and which no device could know."""

    what: str
    peer: int | None = None


class Actuate(NamedTuple):
    """what: "power" (dBm, at most the device's maximum) | "channel" (index)."""

    what: str
    value: float


@dataclass(frozen=True, slots=True)
class Service:
    """Marks a program that may wait for ever (a federated client): its waiting is no deadlock."""

    program: Program


# -- what a program is given ------------------------------------------------------------------------------------------


class Batches(NamedTuple):
    """Padded minibatches of one device: `indices` int64 [num_steps, batch_size] into the training set, `weights`
    [num_steps, batch_size] 1 for real samples and 0 for padding. `work` is the real fraction of the samples.
    `augmentation`: nothing, or offsets of crops int64 [num_steps, batch_size, 2] and flips bool [num_steps, batch_size].
    `drawn`: False in an estimate, where there are shapes and no numbers."""

    indices: Any
    weights: Any
    num_steps: int
    work: float = 1.0
    augmentation: tuple[Any, ...] = ()
    drawn: bool = True

    @property
    def steps(self) -> tuple[Any, ...]:
        return self.indices, self.weights, *self.augmentation

    def each(self) -> list[tuple[Any, ...]]:
        """`steps` of every step apart, with the axis of steps."""
        if self.num_steps == 1:
            return [self.steps]
        return [tuple(part[step : step + 1] for part in self.steps) for step in range(self.num_steps)]

    def apart(self) -> list[Batches]:
        """Every step as batches of its own, with the same part of real work."""
        return [
            Batches(indices, weights, 1, self.work, tuple(augmentation), self.drawn)
            for indices, weights, *augmentation in self.each()
        ]


class Node(Protocol):
    """A node as its own program sees it."""

    id: int
    num_samples: int
    rng: np.random.Generator  # the algorithm's own decisions (client sampling, peer choice); one stream a node
    state: dict[str, Any]
    task: Task  # the node's own architecture, data set and loss
    num_devices: int  # of the scenario, present or not
    packet_payload_bits: int  # of a full packet of the transport, without headers
    edges: tuple[
        int, ...
    ]  # ids of the edge servers, above those of all devices; none where the learner does not use them
    class_counts_of: Callable[
        [int], np.ndarray
    ]  # of a device, int [num_classes]: its training samples of each class, agreed on when the network is set up
    mixing_row: Mapping[int, float]  # weights by neighbor where the scenario names a matrix, else nothing

    @property
    def neighbors(self) -> tuple[int, ...]:
        """The present neighborhood, ascending ids (fixed graph, or who is in radio range now): to whom the node sends."""

    def peers(self, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """To whom the node sends in a round, and whom it hears then. Both are `neighbors` but on directed graphs and on those that
        change from round to round."""

    @property
    def devices(self) -> tuple[int, ...]:
        """Ids of the devices that are present, ascending (what a server knows of its clients); of an edge server, those that its
        base station serves now."""

    @property
    def samples_of(self) -> Sequence[int]:
        """Sample counts by device id, as registered with the server (server and edge servers only)."""

    @property
    def initial_parameters(self) -> Value:
        """Flat initial parameters [num_params]."""

    def batches(
        self,
        batch_size: int,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        crop_padding: int | None = None,
    ) -> Batches:
        """Draw minibatches from the node's own data stream: `steps` with reshuffled passes, or `epochs` full passes.
        crop_padding: with an augmentation by crops and flips, drawn from a stream of its own."""

    def all_samples(self, batch_size: int) -> Batches:
        """All of the node's own samples once, in the order of the data set; draws nothing."""

    def tensor(self, values: Any) -> torch.Tensor:
        """Numbers as a tensor of the run's dtype (what differs between devices enters ops as tensors)."""

    def uniform(self, num_values: int) -> torch.Tensor:
        """float32 [num_values] multiples of 2^-24, uniform in [0, 1), from the node's own stream of codec noise (in an
        estimate only the shape counts, and nothing is drawn)."""


class Learner(Protocol):
    """What the engine needs of an algorithm.

    uses_server: True: programs run at SERVER and at every device; False: at devices only, and a scenario with a server is
        refused; None: at SERVER too where the scenario has one
    synchronous: it waits for named messages. value_dependent: its timing depends on learned values.

    A class may also say: uses_edges (False), its programs run at every base station, too, whose backhaul leads to the server;
    heterogeneous (False), devices may have different architectures, which `check_models(models)` may
    refuse by ValueError; directed (False), it works where a neighbor does not answer, `check_graph(graph)` may refuse a fixed
    graph (networkx; None: a star, or one that changes) by ValueError; takes_matrix (None), what it asks of a mixing matrix from
    a file, see `NeighborSgd`, negative_weights (False), whether that may have entries below 0, and `check_matrix(matrix)` may refuse one
    by ValueError; fixed_graph (False), it needs one that does not change; `check_samples(input_shape)` may refuse samples of this shape by
    ValueError;
    uses_parts (True), it uses what has arrived of a message whose packets are lost in part, else such a message is lost;
    depends_on_timing (False), which of its messages meet is a matter of how long work and messages take, so that a bench on which
    they take no time shows another run; sends (True), it sends messages at all; pools_samples (False), all training samples are at the
    server, or at device 0 without one; uses_public_samples (False), it needs
    [data] public_fraction, the number of which `check_public(num_public)` may refuse by ValueError; `check_parts(class_counts)` may refuse by ValueError what the devices
    train on (int [num_devices, num_classes]); objectives (("cross_entropy",)), those of [task] that it can minimize, the
    first where the scenario does not say; only_trains (False), models with running statistics may be trained; reports (()), the names of what it reports beside "model": an inference head,
    "after_local_training", or "HEAD/after_local_training"; own_metrics (()), the names of those reports that bring a metric along
    because their value is no flat model; measures ({}), by name the components of what the devices measure of the algorithm: their
    names, or one word, such as "layer", where the model says how many there are: "layer 0", "layer 1", ...; note, a line for the user about what its results mean.
    """

    uses_server: bool | None
    synchronous: bool
    value_dependent: bool

    def program(self, node: Node) -> Program | Service | Sequence[Program | Service]:
        """An empty sequence: the node takes no part. The server closes the rounds where it has a program that is no `Service`,
        else all nodes together that have one."""


def rounds(num_rounds: int | None) -> Iterable[int]:
    """0 .. num_rounds - 1, or without end where the scenario stops by time, bits or joules."""
    return count() if num_rounds is None else range(num_rounds)
