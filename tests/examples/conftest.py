from __future__ import annotations

import time
from collections.abc import Callable

import pytest


@pytest.fixture
def soon() -> Callable[[Callable[[], object]], None]:
    """Waits until something holds, at most a few seconds."""

    def wait(holds: Callable[[], object]) -> None:
        until = time.monotonic() + 10
        while not holds():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.005)

    return wait
