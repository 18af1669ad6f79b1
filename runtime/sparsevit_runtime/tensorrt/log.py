"""TensorRT's log, kept for the messages of errors."""

from __future__ import annotations

import logging
from typing import Any

_SHOWN_ERRORS = 3
#: TensorRT for RTX logs this with every other error where there is no driver, which building does not need.
_NO_DRIVER = "cudaError 35"


def make_log(trt: Any) -> Any:
    """A logger for objects of `trt` that collects what goes wrong; it must live as long as they do.

    Attributes of it: `errors` and `warnings`, lists of lines.
    """

    class Log(trt.ILogger):
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []
            self.warnings: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.Severity.WARNING:
                self.warnings.append(message)
                logging.getLogger(__name__).info("%s", message)
            elif severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(" ".join(message.split()))

        def summary(self) -> str:
            """The first errors; the lack of a driver only where there is nothing else."""
            lines = [line for line in self.errors if _NO_DRIVER not in line] or self.errors
            lines = list(dict.fromkeys(lines))
            return "; ".join(lines[:_SHOWN_ERRORS]) or "without a reason in its log"

    return Log()
