"""A node as its own program sees it, and the mailbox that the driver keeps for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from learners.protocol import SERVER, Batches, Message

if TYPE_CHECKING:
    from learners.batching import BatchStream
    from learners.control.observed_stream import ObservedStream
    from learners.control.scale_stream import ScaleStream
    from learners.task import Task
    from wsim.driver import Runner, Waiting
    from wsim.presence import Presence


class SimNode:
    """Implements `learners.protocol.Node`. Index: the node's place in arrays; its id is SERVER or equal to the index."""

    def __init__(
        self,
        id: int,
        index: int,
        server_index: int,
        num_samples: int,
        make_rng: Callable[[], np.random.Generator],
        effective_flops: float,
        jitter: Callable[[], float],
        neighbors_of: Callable[[int], tuple[int, ...]],
        peers_of: Callable[[int, int], tuple[tuple[int, ...], tuple[int, ...]]],
        devices: tuple[int, ...],
        samples_of: Sequence[int],
        task: Task,
        packet_payload_bits: int,
        initial_parameters: Callable[[], Any],
        samples: BatchStream | ScaleStream | ObservedStream | None,
        tensor: Callable[[Any], Any],
        noise: Callable[[int, int, int], Any],
        uniform: Callable[[int, int], Any],
        mixing_row: Mapping[int, float],
        class_counts_of: Callable[[int], np.ndarray],
        edges: tuple[int, ...] = (),
        served: Callable[[], tuple[int, ...]] | None = None,
    ) -> None:
        """served: of an edge server, the devices that its station serves now."""
        self.id = id
        self.index = index
        self.server_index = server_index
        self.num_samples = num_samples
        self._make_rng = make_rng
        self.effective_flops = effective_flops
        self.jitter = jitter
        self.state: dict[str, Any] = {}
        self._devices = devices
        self.samples_of = samples_of
        self.task = task
        self.packet_payload_bits = packet_payload_bits
        self.mixing_row = mixing_row
        self.class_counts_of = class_counts_of
        self.edges = edges
        self._served = served
        self._neighbors_of = neighbors_of
        self._peers_of = peers_of
        self.presence: Presence | None = None  # where devices come and go
        self._initial_parameters = initial_parameters
        self._samples = samples
        self._tensor = tensor
        self._noise = noise
        self._uniform = uniform
        self._index_of: dict[int, int] = {}
        self._audiences: dict[tuple[int, ...], tuple[int, ...]] = {}
        # kept by the driver
        self.inbox: dict[str, dict[tuple[int, int], Message]] = {}
        self.closed: dict[str, int] = {}
        self.late: dict[
            str, dict[int, Message]
        ] = {}  # of the kinds of which late ones are wanted: the newest by sender
        self.waiting: list[Waiting] = []
        self.live = 0  # programs that have not ended
        self.runners: list[Runner] = []
        self.outcomes: dict[int, str] = {}

    @cached_property
    def rng(self) -> np.random.Generator:
        """Made when it is used first: most programs never draw."""
        return self._make_rng()

    @property
    def neighbors(self) -> tuple[int, ...]:
        return self._neighbors_of(self.index)

    def peers(self, round: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self._peers_of(self.index, round)

    @property
    def degree(self) -> int:
        """Neighbors now, as it goes into headers."""
        if self.presence is not None:
            return len(self.presence.present_neighbors(self.index))
        return len(self._neighbors_of(self.index))

    @property
    def num_devices(self) -> int:
        return len(self._devices)

    @property
    def devices(self) -> tuple[int, ...]:
        if self._served is not None:
            return self._served()
        return self._devices if self.presence is None else self.presence.devices

    @property
    def initial_parameters(self) -> Any:
        return self._initial_parameters()

    def batches(
        self,
        batch_size: int,
        *,
        steps: int | None = None,
        epochs: int | None = None,
        crop_padding: int | None = None,
    ) -> Batches:
        return self._own_samples().draw(batch_size, steps=steps, epochs=epochs, crop_padding=crop_padding)

    def all_samples(self, batch_size: int) -> Batches:
        return self._own_samples().all_samples(batch_size)

    def _own_samples(self) -> BatchStream | ScaleStream | ObservedStream:
        if self._samples is None:
            raise ValueError("a server holds no training samples")
        return self._samples

    def tensor(self, values: Any) -> Any:
        return self._tensor(values)

    def uniform(self, num_values: int) -> Any:
        return self._uniform(self.index, num_values)

    def index_of(self, id: int) -> int:
        """The array index of a node id. Raises ValueError for an unknown node and for the node itself."""
        index = self._index_of.get(id)
        if index is None:
            index = self.server_index if id == SERVER else int(id)
            if index == self.index:
                raise ValueError(f"node {self.id} sends to itself")
            if not 0 <= index <= max(self.server_index, len(self._devices) - 1):
                raise ValueError(f"node {self.id} sends to node {id}: there is no such node")
            self._index_of[id] = index
        return index

    def indices_of(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Array indices, kept for repeated audiences."""
        key = tuple(ids)
        indices = self._audiences.get(key)
        if indices is None:
            if len(set(key)) < len(key):
                raise ValueError(f"node {self.id} sends to {list(key)}: a receiver is named twice")
            if len(self._audiences) >= 64:
                self._audiences.clear()
            indices = self._audiences[key] = tuple(self.index_of(id) for id in key)
        return indices

    def close(self, kind: str, round: int) -> None:
        """Round `round` of `kind` is over: what is left of it, or comes later, is late."""
        if round <= self.closed.get(kind, -1):
            return
        self.closed[kind] = round
        box = self.inbox.get(kind)
        if box:
            for key in [key for key in box if key[0] <= round]:
                self.keep_late(box.pop(key))

    def keep_late(self, message: Message) -> None:
        """A message whose round is over: kept where that is wanted, the newest of its sender, else not used."""
        kept = self.late.get(message.kind)
        if kept is not None and (message.sender not in kept or kept[message.sender].round < message.round):
            kept[message.sender] = message

    def analog_noise(self, round: int, num_values: int) -> Any:
        """Unit-variance receiver noise for one analog reception, from the receiver's own stream."""
        return self._noise(self.index, round, num_values)
