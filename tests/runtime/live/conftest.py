from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from runtime.live.devices import Device


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("sparsevit-")]


@pytest.fixture(autouse=True)
def no_thread_stays_behind() -> Iterator[None]:
    yield
    for device in Device.made:
        device.let_go()
    until = time.monotonic() + 2  # drivers that were left behind end now
    while workers() and time.monotonic() < until:
        time.sleep(0.002)
    assert not workers()


@pytest.fixture
def soon() -> Callable[[Callable[[], object]], None]:
    """Waits until something holds, at most a few seconds."""

    def wait(holds: Callable[[], object]) -> None:
        until = time.monotonic() + 5
        while not holds():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.002)

    return wait
