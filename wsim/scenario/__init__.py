"""Scenario files: what they hold (`Scenario` and its tables), and how they are read (`load`)."""

from wsim.errors import ScenarioError
from wsim.scenario.load import Loaded, load, load_text
from wsim.scenario.root import Scenario
from wsim.scenario.world import DeviceGroup, Server

__all__ = ["DeviceGroup", "Loaded", "Scenario", "ScenarioError", "Server", "load", "load_text"]
