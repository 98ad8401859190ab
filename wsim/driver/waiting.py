"""A `Receive` that is not complete: what it wants, what it has got."""

from __future__ import annotations

from collections.abc import Sequence

from learners.protocol import SERVER, Message, Receive
from wsim.driver.runner import Runner
from wsim.driver.waits import ANYONE


class Waiting:
    """pending: senders that are still waited for (ids), None for anyone; need: messages that are missing; left_out: who will not send,
    those of whom this became known last, sorted, at left_out_ns; num_values: of the analog messages that were combined."""

    __slots__ = ("got", "left_out", "left_out_ns", "need", "num_values", "pending", "request", "runner", "state")

    def __init__(self, runner: Runner, request: Receive, pending: set[int] | None, need: int) -> None:
        self.runner = runner
        self.request = request
        self.pending = pending
        self.need = need
        self.got: list[Message] = []
        self.state = request.initial
        self.left_out: list[int] = []
        self.left_out_ns = -1
        self.num_values = 0

    @property
    def missing(self) -> Sequence[int | None]:
        """For whom it waits now, sorted."""
        if self.pending is None:
            return ANYONE
        return sorted(self.pending) or self.left_out

    def accept(self, message: Message) -> None:
        """One of those that it waits for."""
        request = self.request
        if request.combine is not None:
            self.state = request.combine(self.state, message)
            if message.coefficient is not None:
                self.num_values = len(message.data)
            kept = message.degree, message.coefficient
            message = Message(message.sender, message.kind, message.round, None, None, *kept)
        self.got.append(message)
        self.need -= 1
        if self.pending is not None and (request.round is not None or request.count is None):
            self.pending.discard(message.sender)

    def leave_out(self, now_ns: int, senders: Sequence[int]) -> None:
        """These senders will not send, as is known now. Several messages may come from one sender where any round will do; then only nobody at
        all is the end of it."""
        assert self.pending is not None
        self.pending.difference_update(senders)
        before = self.left_out if now_ns == self.left_out_ns else ()
        self.left_out, self.left_out_ns = sorted({*before, *senders}), now_ns
        if self.request.round is not None or self.request.count is None or not self.pending:
            self.need = min(self.need, len(self.pending))

    def __str__(self) -> str:
        """For the error when nothing can happen any more."""
        if self.pending is None:
            whom = "anyone"
        else:
            whom = ", ".join("server" if sender == SERVER else str(sender) for sender in sorted(self.pending)[:4])
            whom += ", ..." if len(self.pending) > 4 else ""
        when = "" if self.request.round is None else f" of round {self.request.round}"
        return f"waits for {self.request.kind!r}{when} from {whom}"
