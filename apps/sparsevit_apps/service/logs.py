"""Logs of a service: one JSON object a line, or text."""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from types import TracebackType
from typing import Any

from sparsevit_runtime.sources.addresses import hide_passwords
from sparsevit_runtime.texts import printable

FORMATS = ("text", "json")
#: What a record may say beside its message, by the name of its attribute.
_FIELDS = ("source", "sink", "state", "reason")


class JsonFormatter(logging.Formatter):
    """``{"time": "2026-01-31T12:00:00.123Z", "level": "warning", "logger": ..., "message": ...}``, with `source`,
    `state` and `reason` where a source changed its state, and `exception` where there was one."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        said: dict[str, Any] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": hide_passwords(record.getMessage()),
        }
        said |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            said["exception"] = hide_passwords(self.formatException(record.exc_info))
        return json.dumps(said)


class TextFormatter(logging.Formatter):
    """``warning: front: lost (...)``; the journal adds the time."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()}: {printable(hide_passwords(record.getMessage()))}"
        if record.exc_info:
            text += "\n" + printable(hide_passwords(self.formatException(record.exc_info)), keep="\n")
        return text


def start_logs(form: str, level: int) -> None:
    """Has everything logged to stderr, warnings of Python and errors of threads, too.

    Args:
        form: one of `FORMATS`.
        level: least level of this product's loggers; others have WARNING at least.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(_told_once)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    for package in ("sparsevit_runtime", "sparsevit_street", "sparsevit_apps"):
        logging.getLogger(package).setLevel(level)
    logging.captureWarnings(True)
    log = logging.getLogger("sparsevit_apps.service")

    def of_thread(failed: threading.ExceptHookArgs) -> None:
        error = failed.exc_value or failed.exc_type()
        log.error("a thread ended by an error of its own", exc_info=(failed.exc_type, error, failed.exc_traceback))

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.critical("ended by an error of its own", exc_info=(kind, error, trace))

    threading.excepthook = of_thread
    sys.excepthook = of_process


def _told_once(record: logging.LogRecord) -> bool:
    """Leaves out what supervisors say of their states: the service says it, by the names of the sources."""
    return not hasattr(record, "source_state")
