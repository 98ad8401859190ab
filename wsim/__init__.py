"""wsim: wireless networks whose traffic is machine learning, as a discrete-event simulation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsim.engine import simulate
    from wsim.errors import DataError, ResultError, ScenarioError, SimulationError, WsimError
    from wsim.record import RunRecord
    from wsim.results import read, write
    from wsim.scenario import Loaded, Scenario, load, load_text
    from wsim.views import Results, open_results

__version__ = "0.1.0"
__all__ = [
    "DataError",
    "Loaded",
    "ResultError",
    "Results",
    "RunRecord",
    "Scenario",
    "ScenarioError",
    "SimulationError",
    "WsimError",
    "__version__",
    "load",
    "load_text",
    "open_results",
    "read",
    "simulate",
    "write",
]

_HOMES = {  # where each public name lives; imported on first use, so that `import wsim` is instant
    "DataError": "wsim.errors",
    "Loaded": "wsim.scenario",
    "ResultError": "wsim.errors",
    "Results": "wsim.views",
    "RunRecord": "wsim.record",
    "Scenario": "wsim.scenario",
    "ScenarioError": "wsim.errors",
    "SimulationError": "wsim.errors",
    "WsimError": "wsim.errors",
    "load": "wsim.scenario",
    "load_text": "wsim.scenario",
    "open_results": "wsim.views",
    "read": "wsim.results",
    "simulate": "wsim.engine",
    "write": "wsim.results",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        import_module("wsim.packages").check_packages()
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'wsim' has no attribute {name!r}")
