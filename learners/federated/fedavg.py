"""FedAvg: federated averaging.

McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017, Algorithm 1
(arXiv 1602.05629). In round k the server samples K clients S_k; each trains from the server's model, and

    w_i <- w,  then local SGD steps  w_i <- w_i - lr * g_i(w_i; batch)
    w   <- sum_{i in S_k} p_i w_i,   p_i = n_i / sum_{j in S_k} n_j          n_i: samples of client i

Sends, per round: the model from the server to each sampled client and back, 32 * num_params bits each way with float32
(one transmission to all of them with downlink = "broadcast"). The server knows the n_i from registration.

The paper's: sampling without replacement, E local epochs in minibatches of B, weights by samples.
Ours: a deadline, after which the server renormalizes p over the updates that arrived (none: it keeps w); a number of
local steps instead of epochs; uniform weights; and, where the transport delivers parts of a message, missing
coordinates of an update count as the server's own, missing coordinates of a download stay as in the client's last
copy of the global model; momentum, schedules and augmentation. With update = "difference" a client sends how far it came,

    d_i = w_i - w,    w <- w + sum_i p_i d_i

the same in exact arithmetic; it is what lossy codecs are made for (a missing coordinate is no change), and what error
feedback needs. Codecs that are for differences only (top-k) carry the uplink: the model travels down in float32 then, as it
does for all codecs with downlink_codec = "float32". With uplink = "aircomp" the differences superpose on the air instead, see
`learners.federated.aircomp`; with uplink = "powersgd" they travel as low-rank factors, see `learners.federated.powersgd`.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from learners.averaging import add_average, add_average_masked, average, average_masked, fill, full_masks
from learners.compression.codec import Codec, differences_only, error_feedback
from learners.compression.error_feedback import ErrorFeedback, minus, plus
from learners.compression.float32 import Float32
from learners.federated import aircomp
from learners.federated.powersgd import LowRankMean, LowRankUpdates
from learners.federated.server_sgd import ServerSgd
from learners.federated.shared_part import in_one_row
from learners.fields import check_choice, check_count, check_number
from learners.protocol import SERVER, Compute, Node, Program, Receive, Received, Report, Value, rounds
from learners.quantities import Count, Decibel, SecondsOrZero

DEFAULT_RANK = 2


@dataclass(frozen=True)
class FedAvg(ServerSgd):
    """Local training and rounds as in `ServerSgd`, p above with server_weights = "samples".
    update: what a client sends, its "model", the "difference" to the one that it got, or "auto", the model unless the codec is
    for differences or has error feedback. downlink_codec: what the server's model travels in, "auto", the codec where that is for
    models, or "float32". uplink: "digital", "powersgd", low-rank factors of the differences, or "aircomp", an over-the-air sum of
    uncoded differences. rank: of the factors of "powersgd" (2). aircomp_snr_db:
    receive SNR that all clients align to; who cannot reach it is silent. aircomp_guard_s: from the server's word to the common
    start of their sending; who gets it later is silent."""

    update: Literal["auto", "model", "difference"] = "auto"
    downlink_codec: Literal["auto", "float32"] = "auto"
    uplink: Literal["digital", "powersgd", "aircomp"] = "digital"
    rank: Count | None = None
    aircomp_snr_db: Decibel = 10.0
    aircomp_guard_s: SecondsOrZero = 0.1

    sends_what_is_trained: ClassVar[bool] = True
    only_trains: ClassVar[bool] = True
    objectives: ClassVar[tuple[str, ...]] = ("cross_entropy", "coding_rate_reduction")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("update", self.update, ("auto", "model", "difference"))
        if not self.sends_differences and self._wants_differences:
            says = 'the codec is for differences here; "auto" or "difference"'
            raise ValueError(f"update = {self.update!r}: {says}")
        check_choice("downlink_codec", self.downlink_codec, ("auto", "float32"))
        check_choice("uplink", self.uplink, ("digital", "powersgd", "aircomp"))
        self._only_with("rank", self.uplink == "powersgd", 'uplink = "powersgd"', DEFAULT_RANK)
        check_count("rank", self.rank, optional=True)
        check_number("aircomp_guard_s", self.aircomp_guard_s, zero=True)
        if self.uplink == "aircomp" and (
            self._wants_differences or self.update == "model" or self.server_weights != "samples"
        ):
            raise ValueError(
                "uplink = 'aircomp': sends uncoded differences weighted by samples: server_weights = \"samples\", update = "
                '"auto", and for the downlink a codec for models, without error feedback'
            )
        if self.uplink == "aircomp":
            self._check_superposed()
        if self.uplink == "powersgd":
            self._check_low_rank()

    def _check_superposed(self) -> None:
        """What is for updates that come one by one."""
        if self.late != "discard":
            raise ValueError(f'late = {self.late!r}: who is late is silent with uplink = "aircomp"; "discard"')
        if self.selection == "age" or self.asks:
            raise ValueError(f'selection = {self.selection!r}: only with uplink = "digital"')

    def _check_low_rank(self) -> None:
        """What is for updates of one message, or of a codec's."""
        if self.update == "model" or not isinstance(self.codec, Float32 | None):
            says = (
                'sends factors of differences in single precision, and models down: codec = "float32", update = "auto"'
            )
            raise ValueError(f"uplink = 'powersgd': {says}")
        if self.late == "use":
            says = 'late factors fit no other round of uplink = "powersgd"; "discard" or "abort"'
            raise ValueError(f"late = {self.late!r}: {says}")
        if self.asks:
            raise ValueError(f'selection = {self.selection!r}: only with uplink = "digital"')

    @property
    def sends_differences(self) -> bool:
        """Whether clients send differences instead of models."""
        return self._wants_differences if self.update == "auto" else self.update == "difference"

    @property
    def _wants_differences(self) -> bool:
        return differences_only(self.codec) or error_feedback(self.codec)

    @property
    def model_codec(self) -> Codec:
        """What the server's model travels in."""
        return Float32() if self.downlink_codec == "float32" or differences_only(self.codec) else self.codec

    def server(self, node: Node) -> Program:
        codec = self.model_codec
        w = node.initial_parameters  # [num_params]
        factors = LowRankMean(node, self.rank) if self.rank is not None else None
        for k in rounds(self.num_rounds):
            if factors is not None:
                mean = yield from self._low_rank_round(node, w, k, factors)
            elif self.uplink == "aircomp":
                clients = yield from self.invite(node, k, codec.payload(w, node), number=2 * k)
                mean = yield from aircomp.collect(node, w, k, clients, self.aircomp_guard_s, self.deadline_s)
            else:
                clients = yield from self.invite(node, k, codec.payload(w, node))
                updates = yield from self.collect(node, clients, k)
                mean = (yield self._aggregate(node, w, updates)) if updates.messages else None
            if mean is not None:
                w = yield from self.next_model(node, w, mean)
            yield Report("model", w)

    def next_model(self, node: Node, w: Value, mean: Value) -> Generator[Compute, Any, Value]:
        """The server's model after a round that began with w and in which the mean of the clients' models was `mean`; a round of
        which nothing came back changes nothing. Both: [num_params]. `yield from` it."""
        yield from ()
        return mean

    def local_training(self, node: Node, w: Value, k: int) -> Generator[Any, Any, Value]:
        """A client's model after its local training in round k, which began with w [num_params]. `yield from` it."""
        return (yield from self.train(node, w, k, self.batches(node)))

    def client(self, node: Node) -> Program:
        if self.rank is not None:
            return self._low_rank_client(node, LowRankUpdates(node, self.rank))
        return self._digital_client(node) if self.uplink == "digital" else self._air_client(node)

    def _digital_client(self, node: Node) -> Program:
        w = node.initial_parameters  # the last copy of the global model
        feedback = ErrorFeedback(self.codec, node)
        while True:
            model = yield from self.download(node, w)
            w = model.data
            yield Report("model", w)
            trained = yield from self.local_training(node, w, model.round)
            yield Report("after_local_training", trained)
            update = (yield Compute(minus, (trained, w))) if self.sends_differences else trained
            if error_feedback(self.codec):
                payload = yield from feedback.payload(update)
                feedback.sent((yield from self.upload(node, model.round, payload, model.sender)))
            else:
                yield from self.upload(node, model.round, self.codec.payload(update, node), model.sender)

    def _air_client(self, node: Node) -> Program:
        w = node.initial_parameters
        difference: Value | None = None  # of the round that is under way
        k = -1
        while True:
            messages = (yield Receive([SERVER], "model", count=1)).messages
            messages += (yield Receive(None, "model", timeout_s=0)).messages
            message = max(messages, key=lambda message: message.round)
            if message.round == 2 * k + 1 and difference is not None:
                yield from aircomp.speak(node, difference, message, self.aircomp_snr_db)
                difference = None
            elif message.round % 2 == 0:
                k = message.round // 2
                w = message.data if message.mask is None else (yield Compute(fill, (message.data, message.mask, w)))
                yield Report("model", w)
                trained = yield from self.local_training(node, w, k)
                yield Report("after_local_training", trained)
                difference = yield Compute(minus, (trained, w))
                yield from aircomp.announce(node, difference, k, self.deadline_s)

    def _low_rank_round(self, node: Node, w: Value, k: int, factors: LowRankMean) -> Generator[Any, Any, Value | None]:
        clients = yield from self.invite(node, k, factors.invitation(w), number=2 * k)
        broadcast, wait_s, ends_s = self.downlink == "broadcast", self._half_s, self._ends_s(node)
        difference, clients = yield from factors.collect(k, clients, self.shares, broadcast, wait_s, ends_s)
        if "selection" in node.state:
            node.state["selection"].answered(clients, k)
        return None if difference is None else (yield Compute(plus, (w, difference)))

    def _low_rank_client(self, node: Node, factors: LowRankUpdates) -> Program:
        last = in_one_row((node.initial_parameters, factors.start))  # the last copy of model and Q
        while True:
            message = yield from self.download(node, last)
            if message.round % 2:
                yield from factors.go_on(message.round, message.data, self._half_s, self._ends_s(node))
                continue
            k, last, ends_s = message.round // 2, message.data, self._ends_s(node)
            w, q = factors.opened(last)
            yield Report("model", w)
            trained = yield from self.local_training(node, w, k)
            yield Report("after_local_training", trained)
            yield from factors.begin(k, (yield Compute(minus, (trained, w))), q, self._half_s, ends_s)

    @property
    def _half_s(self) -> float | None:
        return None if self.deadline_s is None else self.deadline_s / 2

    def _aggregate(self, node: Node, w: Value, updates: Received) -> Compute:
        shares = self.shares(node, updates)
        masks = full_masks(updates)
        if self.sends_differences and masks is None:
            return Compute(add_average, (w, updates.data, shares))
        if self.sends_differences:
            return Compute(add_average_masked, (w, updates.data, shares, masks))
        if masks is None:
            return Compute(average, (updates.data, shares))
        return Compute(average_masked, (updates.data, shares, masks, w))
