"""Results are published to a real broker, which may go away and come back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from brokers import Broker, Listener, needs_broker
from certificates import Authority, needs_openssl
from hooks_of_sinks import wait_until
from sparsevit_runtime.errors import MissingDependencyError, SinkError
from sparsevit_runtime.sinks import open_sink
from sparsevit_runtime.sinks.mqtt import read_mqtt

pytestmark = pytest.mark.timed
TOPIC = "cams/front"


@pytest.fixture
def broker(tmp_path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.stop()


@pytest.fixture
def listener(broker) -> Iterator[Listener]:
    listening = Listener(broker)
    yield listening
    listening.leave()


@needs_broker()
@pytest.mark.parametrize("qos", [0, 1])
def test_results_and_a_status_are_published(broker, listener, result_of, qos):
    with open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}?qos={qos}") as sink:
        for i in range(50):
            sink.write(result_of(i))
        wait_until(lambda: listener.frames(TOPIC) == list(range(50)))
        assert listener.statuses(TOPIC) == ["online"]
    wait_until(lambda: listener.statuses(TOPIC) == ["online", "offline"])
    assert (sink.sent, sink.dropped, sink.waiting) == (50, 0, 0)


@needs_broker()
def test_the_status_stays_for_who_comes_later(broker, result_of):
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}")
    sink.write(result_of(0))
    wait_until(lambda: sink.sent == 1)
    late = Listener(broker)
    wait_until(lambda: late.messages == [(f"{TOPIC}/status", "online", True)])
    sink.close()
    wait_until(lambda: late.statuses(TOPIC) == ["online", "offline"])
    late.leave()


@needs_broker()
def test_a_broker_that_was_away_gets_everything_when_it_is_there(broker, result_of, caplog):
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}")
    sink.write(result_of(0))
    wait_until(lambda: sink.sent == 1)
    broker.stop()
    for i in range(1, 20):
        sink.write(result_of(i))
    wait_until(lambda: "messages are kept" in caplog.text)
    broker.start()
    listener = Listener(broker)  # the status is published again, though nothing was retained
    wait_until(lambda: sink.waiting == 0)
    wait_until(lambda: listener.statuses(TOPIC) == ["online"])
    sink.close()
    listener.leave()
    assert (sink.sent, sink.dropped) == (20, 0)
    assert caplog.text.count("messages are kept") == 1


@needs_broker()
def test_a_link_that_breaks_while_nothing_is_sent_is_made_anew(broker, result_of):
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}")
    sink.write(result_of(0))
    wait_until(lambda: sink.sent == 1)
    broker.stop()
    broker.start()
    listener = Listener(broker)
    wait_until(lambda: listener.statuses(TOPIC) == ["online"])
    sink.close()
    listener.leave()


_DIES = """
import sys, time
from sparsevit_runtime.sinks import open_sink
sink = open_sink(sys.argv[1])
time.sleep(60)
"""


@needs_broker()
def test_the_last_will_of_a_killed_process_says_offline(broker, listener):
    process = subprocess.Popen(
        [sys.executable, "-c", _DIES, f"mqtt://127.0.0.1:{broker.port}/{TOPIC}"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wait_until(lambda: listener.statuses(TOPIC) == ["online"], 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: listener.statuses(TOPIC) == ["online", "offline"])


@needs_broker()
def test_a_wrong_password_is_told_without_it_and_tried_again(tmp_path, result_of, caplog):
    broker = Broker(tmp_path, ("joe", "right"))
    sink = open_sink(f"mqtt://joe:wr%40ng@127.0.0.1:{broker.port}/{TOPIC}")
    sink.write(result_of(0))
    wait_until(lambda: "refuses the connection (Not authorized)" in caplog.text)
    sink.close()
    assert sink.dropped == 1
    listener = Listener(broker, ("joe", "right"))
    with open_sink(f"mqtt://joe:right@127.0.0.1:{broker.port}/{TOPIC}") as sink:
        sink.write(result_of(1))
        wait_until(lambda: listener.frames(TOPIC) == [1])
    listener.leave()
    broker.stop()
    assert not any(secret in caplog.text + sink.name for secret in ("wr@ng", "wr%40ng", "right", "joe"))


@needs_broker()
def test_closing_without_a_broker_takes_a_moment(result_of, tmp_path):
    broker = Broker(tmp_path)
    broker.stop()
    sink = open_sink(f"mqtt://127.0.0.1:{broker.port}/{TOPIC}")
    sink.write(result_of(0))
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 4.0
    assert sink.dropped == 1


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("mqtt://host", "no topic"),
        ("mqtt:///topic", "no host"),
        ("mqtt://host/a/%23", "no topic that may be published to"),
        ("mqtt://host/+/b", "no topic that may be published to"),
        ("mqtt://host/$SYS/x", "no topic that may be published to"),
        ("mqtt://host:one/topic", "not valid"),
        ("mqtt://host/topic?qos=2", "none of 0, 1"),
        ("mqtt://host/topic?spool_mb=2", "add spool=FOLDER"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(uri, said):
    with pytest.raises(SinkError, match=said):
        read_mqtt(uri)


def test_no_message_holds_a_password():
    with pytest.raises(SinkError) as told:
        read_mqtt("mqtt://joe:secret@host/topic?qos=5")
    assert "secret" not in str(told.value)
    assert "secret" not in repr(read_mqtt("mqtt://joe:secret@host/topic"))


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "paho", None)
    with pytest.raises(MissingDependencyError, match=r"sparsevit-edge\[mqtt\]"):
        open_sink("mqtt://host/topic")


@needs_broker()
@needs_openssl
def test_a_broker_with_tls_is_believed_by_its_certificate_alone(tmp_path, result_of, caplog):
    authority = Authority(tmp_path)
    broker = Broker(tmp_path, authority=authority)
    try:
        with open_sink(f"mqtts://localhost:{broker.port}/{TOPIC}?ca={authority.ca}") as sink:
            for i in range(20):
                sink.write(result_of(i))
            wait_until(lambda: sink.sent == 20)
        with open_sink(f"mqtts://localhost:{broker.port}/{TOPIC}") as stranger:
            stranger.write(result_of(0))
            wait_until(lambda: "is of nobody that is trusted here" in caplog.text)
            assert stranger.sent == 0
    finally:
        broker.stop()
    assert "?ca=FILE" in caplog.text
    with pytest.raises(SinkError, match="certificates are for mqtts://"):
        read_mqtt(f"mqtt://host/topic?ca={authority.ca}")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("mqtts://host/t?ca=missing.pem", "cannot be read"),
        (f"mqtts://host/t?ca={__file__}", "holds no certificate"),
    ],
)
def test_certificates_that_are_none(uri, said):
    with pytest.raises(SinkError, match=said):
        read_mqtt(uri)
