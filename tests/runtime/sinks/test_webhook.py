"""Results are posted in batches; a server that fails, stalls or is away costs the pipeline nothing."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator

import pytest

from certificates import Authority, needs_openssl
from hooks_of_sinks import Hook, wait_until
from sparsevit_runtime.errors import SinkError
from sparsevit_runtime.sinks import open_sink
from sparsevit_runtime.sinks.webhook import read_webhook

pytestmark = pytest.mark.timed


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    yield server
    server.stalled.clear()
    server.leave()


def address(hook: Hook, options: str = "every=0.05s", user: str = "") -> str:
    return f"webhook+http://{user}127.0.0.1:{hook.server_port}/hook?{options}"


def test_results_come_in_order_in_batches_as_json_lines_have_them(hook, result_of):
    results = [result_of(i) for i in range(25)]
    with open_sink(address(hook, "every=0.3s&batch=10&room=hall", "joe:s%40crt@")) as sink:
        for result in results:
            sink.write(result)
        wait_until(lambda: sink.sent == 25)
    assert [each for batch in hook.batches for each in batch] == [result.to_dict() for result in results]
    assert [len(batch) for batch in hook.batches] == [10, 10, 5]
    assert hook.headers["Authorization"] == "Basic " + base64.b64encode(b"joe:s@crt").decode()
    assert hook.target == "/hook?room=hall"
    assert (sink.dropped, sink.waiting) == (0, 0)


def test_a_server_that_was_away_gets_everything_when_it_is_there(result_of, caplog):
    hook = Hook()
    port = hook.server_port
    sink = open_sink(address(hook))
    sink.write(result_of(0))
    wait_until(lambda: hook.frames() == [0])
    hook.leave()
    for i in range(1, 30):
        sink.write(result_of(i))
    wait_until(lambda: "cannot be reached" in caplog.text or "broke" in caplog.text)
    back = Hook(port)
    wait_until(lambda: back.frames() == list(range(1, 30)))
    sink.close()
    back.leave()
    assert sink.sent == 30
    assert caplog.text.count("messages are kept") == 1


def test_a_server_that_stalls_makes_nobody_wait_and_the_oldest_are_dropped(hook, result_of, tmp_path):
    hook.stalled.set()
    sink = open_sink(address(hook, "every=0.01s&timeout=0.3s"))
    wait_until(lambda: sink.waiting == 0)
    slowest = 0.0
    for i in range(500):
        start = time.perf_counter()
        sink.write(result_of(i))
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 0.25  # the server answers nothing at all
    wait_until(lambda: hook.tried >= 2)
    hook.stalled.clear()
    wait_until(lambda: set(hook.frames()) == set(range(500)))
    sink.close()


def test_later_is_no_refusal(hook, result_of, caplog):
    hook.status = 503
    sink = open_sink(address(hook))
    sink.write(result_of(0))
    wait_until(lambda: hook.tried >= 2)
    assert (sink.waiting, sink.dropped) == (1, 0)
    hook.status = 200
    wait_until(lambda: hook.frames() == [0])
    sink.close()
    assert "503 Service Unavailable" in caplog.text


def test_a_refusal_costs_its_batch_which_is_counted_and_told(hook, result_of, caplog):
    hook.status = 403
    sink = open_sink(address(hook, user="joe:secret@"))
    sink.write(result_of(0))
    wait_until(lambda: sink.dropped == 1)
    hook.status = 200
    sink.write(result_of(1))
    wait_until(lambda: hook.frames() == [1])
    sink.close()
    assert "1 messages are given up: it answered 403 Forbidden" in caplog.text
    assert "secret" not in caplog.text and "secret" not in sink.name


def test_closing_takes_no_longer_when_the_server_stalls_and_a_spool_keeps_what_is_left(hook, result_of, tmp_path):
    hook.stalled.set()
    where = address(hook, f"every=0.01s&spool={tmp_path / 'spool'}&spool_mb=1")
    sink = open_sink(where)
    for i in range(5):
        sink.write(result_of(i))
    wait_until(lambda: hook.tried >= 1)
    start = time.monotonic()
    sink.close()
    assert time.monotonic() - start < 4.0
    assert sink.dropped == 0
    hook.stalled.clear()
    with open_sink(where) as again:
        again.write(result_of(5))
        wait_until(lambda: set(hook.frames()) >= set(range(6)))
    assert list((tmp_path / "spool").glob("*.spool")) == []


def test_what_is_left_without_a_spool_is_told(result_of, caplog):
    hook = Hook()
    where = address(hook)
    hook.leave()
    sink = open_sink(where)
    for i in range(3):
        sink.write(result_of(i))
    wait_until(lambda: "cannot be reached" in caplog.text)
    sink.close()
    assert sink.dropped == 3
    assert "3 messages were dropped, as nobody took them" in caplog.text


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("webhook+http:///path", "no host"),
        ("webhook+http://host:port/", "not valid"),
        ("webhook+http://host/#x", "a #"),
        ("webhook+http://host/?batch=none", "no count"),
        ("webhook+http://host/?every=never", "no time"),
        ("webhook+http://host/?spool_mb=5", "add spool=FOLDER"),
        ("webhook+http://host/?spool=", "add spool=FOLDER"),
    ],
)
def test_addresses_that_mean_nothing_are_refused(uri, said):
    with pytest.raises(SinkError, match=said):
        open_sink(uri)


def test_messages_and_names_hold_no_secret():
    with pytest.raises(SinkError) as told:
        open_sink("webhook+https://joe:secret@host/secret?key=secret&batch=0")
    assert "secret" not in str(told.value)
    options = read_webhook("webhook+https://joe:secret@host/secret?key=secret")
    assert "secret" not in repr(options) and options.name == "webhook+https://host"


@needs_openssl
def test_a_server_with_tls_is_believed_by_its_certificate_alone(tmp_path, result_of, caplog):
    authority = Authority(tmp_path, names="DNS:localhost")
    hook = Hook(authority=authority)
    try:
        where = f"localhost:{hook.server_port}/results?every=0.01s"
        with open_sink(f"webhook+https://{where}&ca={authority.ca}") as sink:
            sink.write(result_of(0))
            wait_until(lambda: hook.frames() == [0])
        for host, ca, said in (("localhost", "", "trusted here"), ("127.0.0.1", authority.ca, "for another host")):
            with open_sink(f"webhook+https://{host}:{hook.server_port}/results" + (f"?ca={ca}" if ca else "")) as sink:
                sink.write(result_of(1))
                wait_until(lambda said=said: said in caplog.text)
    finally:
        hook.leave()
    assert hook.frames() == [0]
    with pytest.raises(SinkError, match="webhook.https"):
        open_sink(f"webhook+http://host/?ca={authority.ca}")
