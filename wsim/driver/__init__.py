"""Answers the requests of programs in simulated time."""

from wsim.driver.describe import describe
from wsim.driver.driver import Driver
from wsim.driver.runner import Runner
from wsim.driver.waiting import Waiting

__all__ = ["Driver", "Runner", "Waiting", "describe"]
