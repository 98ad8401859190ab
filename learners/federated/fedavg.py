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
feedback needs. Codecs that are for differences only (top-k) carry the uplink: the model travels down in float32 then. With
uplink = "aircomp" the differences superpose on the air instead, see `learners.federated.aircomp`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from learners.averaging import add_average, add_average_masked, average, average_masked, fill, full_masks
from learners.compression.codec import differences_only, error_feedback
from learners.compression.error_feedback import ErrorFeedback, minus
from learners.compression.float32 import Float32
from learners.federated import aircomp
from learners.federated.participation import newest_download, sample_clients
from learners.fields import check_choice, check_count, check_number
from learners.local_sgd import LocalSgd
from learners.protocol import SERVER, Compute, Node, Program, Receive, Received, Report, Send, Service, Value, rounds
from learners.quantities import Count, Decibel, Seconds, SecondsOrZero


@dataclass(frozen=True)
class FedAvg(LocalSgd):
    """Local training as in `LocalSgd`; the schedule follows the server's rounds, momentum starts from zero in each.
    clients_per_round: K, all where not given. deadline_s: of a round, from the server's send; not given: waits for everyone.
    server_weights: "samples" (p above) or "uniform". downlink: "unicast" or "broadcast".
    update: what a client sends, its "model", the "difference" to the one that it got, or "auto", the model unless the codec is
    for differences or has error feedback. uplink: "digital", or "aircomp", an over-the-air sum of uncoded differences. aircomp_snr_db:
    receive SNR that all clients align to; who cannot reach it is silent. aircomp_guard_s: from the server's word to the common
    start of their sending; who gets it later is silent."""

    clients_per_round: Count | None = None
    deadline_s: Seconds | None = None
    server_weights: Literal["samples", "uniform"] = "samples"
    downlink: Literal["unicast", "broadcast"] = "unicast"
    update: Literal["auto", "model", "difference"] = "auto"
    uplink: Literal["digital", "aircomp"] = "digital"
    aircomp_snr_db: Decibel = 10.0
    aircomp_guard_s: SecondsOrZero = 0.1

    uses_server: ClassVar[bool] = True
    synchronous: ClassVar[bool] = True
    value_dependent: ClassVar[bool] = False
    reports: ClassVar[tuple[str, ...]] = ("after_local_training",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("clients_per_round", self.clients_per_round, optional=True)
        check_number("deadline_s", self.deadline_s, optional=True)
        check_choice("server_weights", self.server_weights, ("samples", "uniform"))
        check_choice("downlink", self.downlink, ("unicast", "broadcast"))
        check_choice("update", self.update, ("auto", "model", "difference"))
        if not self.sends_differences and self._wants_differences:
            says = 'the codec is for differences here; "auto" or "difference"'
            raise ValueError(f"update = {self.update!r}: {says}")
        check_choice("uplink", self.uplink, ("digital", "aircomp"))
        check_number("aircomp_guard_s", self.aircomp_guard_s, zero=True)
        if self.uplink == "aircomp" and (self._wants_differences or self.update == "model" or not self._by_samples):
            raise ValueError(
                "uplink = 'aircomp': sends uncoded differences weighted by samples: server_weights = \"samples\", update = "
                '"auto", and for the downlink a codec for models, without error feedback'
            )

    @property
    def sends_differences(self) -> bool:
        """Whether clients send differences instead of models."""
        return self._wants_differences if self.update == "auto" else self.update == "difference"

    @property
    def _wants_differences(self) -> bool:
        return differences_only(self.codec) or error_feedback(self.codec)

    @property
    def _by_samples(self) -> bool:
        return self.server_weights == "samples"

    def program(self, node: Node) -> Program | Service:
        if node.id == SERVER:
            return self._server(node)
        return Service(self._client(node) if self.uplink == "digital" else self._air_client(node))

    def _server(self, node: Node) -> Program:
        codec = Float32() if differences_only(self.codec) else self.codec
        w = node.initial_parameters  # [num_params]
        for k in rounds(self.num_rounds):
            clients = yield from sample_clients(node, self.clients_per_round)
            yield Send(
                clients,
                "model",
                k if self.uplink == "digital" else 2 * k,
                codec.payload(w, node),
                broadcast=self.downlink == "broadcast",
                expires_s=self.deadline_s,
            )
            if self.uplink == "aircomp":
                w = yield from aircomp.collect(node, w, k, clients, self.aircomp_guard_s, self.deadline_s)
            else:
                updates = yield Receive(clients, "update", k, timeout_s=self.deadline_s)
                if updates.messages:
                    w = yield self._aggregate(node, w, updates)
            yield Report("model", w)

    def _client(self, node: Node) -> Program:
        w = node.initial_parameters  # the last copy of the global model
        feedback = ErrorFeedback(self.codec, node)
        while True:
            model = yield from newest_download("model", waits=self.deadline_s is None)
            w = model.data if model.mask is None else (yield Compute(fill, (model.data, model.mask, w)))
            yield Report("model", w)
            trained = yield from self.train(node, w, model.round, self.batches(node))
            yield Report("after_local_training", trained)
            update = (yield Compute(minus, (trained, w))) if self.sends_differences else trained
            if error_feedback(self.codec):
                yield from feedback.send(SERVER, "update", model.round, update, self.deadline_s)
            else:
                payload = self.codec.payload(update, node)
                yield Send([SERVER], "update", model.round, payload, expires_s=self.deadline_s)

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
                trained = yield from self.train(node, w, k, self.batches(node))
                yield Report("after_local_training", trained)
                difference = yield Compute(minus, (trained, w))
                yield from aircomp.announce(node, difference, k, self.deadline_s)

    def _aggregate(self, node: Node, w: Value, updates: Received) -> Compute:
        shares = node.tensor([node.samples_of[sender] if self._by_samples else 1 for sender in updates.senders])
        masks = full_masks(updates)
        if self.sends_differences and masks is None:
            return Compute(add_average, (w, updates.data, shares))
        if self.sends_differences:
            return Compute(add_average_masked, (w, updates.data, shares, masks))
        if masks is None:
            return Compute(average, (updates.data, shares))
        return Compute(average_masked, (updates.data, shares, masks, w))
