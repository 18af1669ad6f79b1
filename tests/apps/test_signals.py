"""What a signal ends, and when."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import pytest

from sparsevit_apps.outputs import Outputs
from sparsevit_apps.signals import Terminated, exit_code, stop_on_signals, undisturbed
from sparsevit_runtime import load, open_source


@pytest.fixture(autouse=True)
def handlers():
    """Those that were there come back. Under nohup, or in the background of a shell, some are ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_waits_for_what_is_being_completed(number, code):
    stop_on_signals()
    completed = False
    with pytest.raises(KeyboardInterrupt) as told, undisturbed():
        send(number)
        completed = True
    assert completed and exit_code(told.value) == code
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_ctrl_c_does_not_wait():
    with pytest.raises(KeyboardInterrupt), undisturbed():
        send(signal.SIGINT)
        send(signal.SIGINT)
        raise AssertionError("it waited")


def test_of_several_that_terminate_the_first_counts():
    stop_on_signals()
    with pytest.raises(Terminated) as told:
        send(signal.SIGHUP)
    send(signal.SIGHUP)
    send(signal.SIGTERM)
    assert exit_code(told.value) == 129


def test_one_that_is_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    send(signal.SIGHUP)
    with undisturbed():
        send(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_ctrl_c_anywhere_completes_what_was_made_of_a_file(tmp_path, tiny_model, capsys):
    """Not only while frames run: also between two sources, or while the first sink is completed."""
    places = [str(tmp_path / name) for name in ("out.mp4", "out.jsonl")]
    with load(tiny_model(), threads=1) as model, pytest.raises(KeyboardInterrupt), ExitStack() as opened:
        source = opened.enter_context(open_source("synthetic://street?size=96x64&frames=3"))
        sinks = opened.enter_context(Outputs(places)).open(source, opened.enter_context(ExitStack()), 25.0)
        for frame in source:
            for sink in sinks:
                sink.write(model(frame.image), frame.image)
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.jsonl", "out.mp4", "tiny.onnx"]
    err = capsys.readouterr().err
    assert err.startswith("kept ") and all(place in err for place in places)
