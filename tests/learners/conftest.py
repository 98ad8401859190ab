"""Fixtures of the tests of learners."""

from typing import Any

import pytest

from tests.learners.oracle_runs import EXECUTORS


@pytest.fixture(params=EXECUTORS)
def executor(request: pytest.FixtureRequest) -> Any:
    return EXECUTORS[request.param]()
