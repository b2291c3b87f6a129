"""A policy for those tests that need one, whatever it decides."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_policy import tiny_run


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one rollout: a policy is enough, a good one is not needed."""
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    """A soak listens to every log line; pytest need not keep them, and other tests must not pay for it."""
    quietened = [logging.getLogger("numba"), *logging.getLogger().handlers]
    before = [each.level for each in quietened]
    for each in quietened:
        each.setLevel(logging.WARNING)
    yield
    for each, level in zip(quietened, before, strict=True):
        each.setLevel(level)
