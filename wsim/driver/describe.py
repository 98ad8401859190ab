"""Requests as lines of the event trace."""

from __future__ import annotations

from typing import Any

import numpy as np

from learners.protocol import Actuate, Compute, Measure, Observe, Receive, Report, Send


def describe(request: Any) -> tuple[Any, ...]:
    """What an algorithm does, without values or times."""
    match request:
        case Compute(op=op):
            return ("compute", getattr(op, "name", getattr(op, "__qualname__", str(op))))
        case Send(to=to, kind=kind, round=k, payload=payload, broadcast=broadcast):
            to = (to,) if isinstance(to, (int, np.integer)) else tuple(to)
            return ("send", to, kind, k, payload.num_bits, broadcast)
        case Receive(senders=senders, kind=kind, round=k, count=count):
            return ("receive", None if senders is None else tuple(senders), kind, k, count)
        case Report(name=name) | Measure(name=name):
            return (type(request).__name__.lower(), name)
        case Observe(what=what):
            return ("observe", what)
        case Actuate(what=what):
            return ("actuate", what)
    return (type(request).__name__.lower(),)
