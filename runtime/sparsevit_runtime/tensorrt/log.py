"""TensorRT's log, kept for the messages of errors."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

_SHOWN_ERRORS = 3
#: Lines held of each kind; a camera runs for months.
_HELD = 64
#: TensorRT for RTX logs this with every other error where there is no driver, which building does not need.
_NO_DRIVER = "cudaError 35"


_logs: dict[Any, Any] = {}
_logs_lock = threading.Lock()


def process_log(trt: Any) -> Any:
    """The logger of this process, see `make_log`.

    TensorRT registers one as long as anything made with it lives, warns about others, and lets plugins write to that
    one alone, which must not be gone by then.
    """
    with _logs_lock:
        if trt not in _logs:
            _logs[trt] = make_log(trt)
        return _logs[trt]


def make_log(trt: Any) -> Any:
    """A logger for objects of `trt` that collects what goes wrong; it must live as long as they do.

    Take a mark before a call, and ask for the lines or the summary since then when the call has failed. The last 64
    errors and warnings are held. Threads: safe, but the lines of all of them are in it.
    """

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._lock = threading.Lock()
            self._count = self._told = 0
            self._errors: deque[tuple[int, str]] = deque(maxlen=_HELD)
            self._warnings: deque[tuple[int, str]] = deque(maxlen=_HELD)

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.Severity.WARNING:
                self._hold(self._warnings, message)
                logging.getLogger(__name__).info("%s", message)
            elif severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self._hold(self._errors, " ".join(message.split()))

        def _hold(self, lines: deque[tuple[int, str]], line: str) -> None:
            with self._lock:
                lines.append((self._count, line))
                self._count += 1

        def mark(self) -> int:
            """The place of the next line."""
            return self._count

        def errors(self, since: int = 0) -> list[str]:
            """Error lines from a mark on."""
            with self._lock:
                return [line for place, line in self._errors if place >= since]

        def warnings(self, since: int = 0) -> list[str]:
            """Warning lines from a mark on."""
            with self._lock:
                return [line for place, line in self._warnings if place >= since]

        def summary(self, since: int | None = None) -> str:
            """The first errors since a mark; without one, of those that no summary has told.

            The lack of a driver is told only where there is nothing else.
            """
            found = self.errors(self._told if since is None else since)
            self._told = self._count
            lines = [line for line in found if _NO_DRIVER not in line] or found
            lines = list(dict.fromkeys(lines))
            return "; ".join(lines[:_SHOWN_ERRORS]) or "without a reason in its log"

    return Log()
