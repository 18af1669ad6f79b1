"""Signals that end a command, so that what it has done is completed first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_TERMINATING = (signal.SIGTERM, signal.SIGHUP)
#: Added to the number of the signal that ended a command, as shells do.
_SIGNALLED = 128


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, treated like Ctrl-C so that sinks are completed.

    Attributes:
        code: exit code of the command.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = _SIGNALLED + number


def exit_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a command that was stopped."""
    return stop.code if isinstance(stop, Terminated) else _SIGNALLED + signal.SIGINT


def stop_on_signals() -> None:
    """Has SIGTERM and SIGHUP raise `Terminated` in the main thread, once. One that is ignored, as under nohup, stays
    so."""
    for number in _TERMINATING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _terminate)


@contextmanager
def undisturbed() -> Iterator[None]:
    """A signal that would end what is done here ends it afterwards; a second one ends it at once.

    Signals come in the main thread: nothing disturbs any other.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Any] = {}
    caught: list[int] = []

    def wait(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        restore()

    def restore() -> None:
        for each, handler in handlers.items():
            signal.signal(each, handler)

    for number in (signal.SIGINT, *_TERMINATING):
        handler = signal.getsignal(number)
        if callable(handler):
            handlers[number] = handler
            signal.signal(number, wait)
    try:
        yield
    finally:
        restore()
    for each in caught:
        handlers[each](each, None)


def _terminate(number: int, _frame: FrameType | None) -> None:
    # A closing terminal sends several: what is being completed is completed.
    for each in _TERMINATING:
        signal.signal(each, signal.SIG_IGN)
    raise Terminated(number)
