from enum import Enum
from types import SimpleNamespace

import pytest

from sparsevit_runtime.tensorrt.log import make_log

Severity = Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
TRT = SimpleNamespace(ILogger=type("ILogger", (), {"Severity": Severity}))
NOTHING = "without a reason in its log"


@pytest.fixture
def log():
    return make_log(TRT)


def test_a_summary_is_of_the_first_errors_since_the_mark(log):
    log.log(Severity.ERROR, "of an earlier call")
    mark = log.mark()
    assert log.summary(mark) == NOTHING
    for line in ("one", "one", "two\n  lines", "three", "four"):
        log.log(Severity.INTERNAL_ERROR if line == "four" else Severity.ERROR, line)
    assert log.summary(mark) == "one; two lines; three"
    assert log.errors(mark) == ["one", "one", "two lines", "three", "four"]
    assert log.errors()[0] == "of an earlier call"


def test_without_a_mark_nothing_is_told_twice(log):
    log.log(Severity.ERROR, "first failure")
    assert log.summary() == "first failure"
    assert log.summary() == NOTHING
    log.log(Severity.ERROR, "second failure")
    assert log.summary() == "second failure"


def test_only_errors_are_told_and_warnings_are_held_apart(log):
    mark = log.mark()
    for severity in (Severity.WARNING, Severity.INFO, Severity.VERBOSE):
        log.log(severity, severity.name)
    assert log.summary(mark) == NOTHING and log.errors(mark) == []
    assert log.warnings(mark) == ["WARNING"] and log.warnings(log.mark()) == []


def test_the_lack_of_a_driver_is_told_when_there_is_nothing_else(log):
    log.log(Severity.ERROR, "In getDevice (cudaError 35: insufficient driver)")
    assert "cudaError 35" in log.summary(0)
    log.log(Severity.ERROR, "no plugin")
    assert log.summary(0) == "no plugin"


def test_months_of_lines_do_not_add_up(log):
    for i in range(10_000):
        log.log(Severity.ERROR, f"error {i}")
        log.log(Severity.WARNING, f"warning {i}")
    assert len(log.errors()) == len(log.warnings()) <= 100
    assert log.errors()[-1] == "error 9999"
    mark = log.mark()
    log.log(Severity.ERROR, "the last one")
    assert log.summary(mark) == "the last one"
