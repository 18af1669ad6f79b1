import re
import socket
import threading
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from runtime.sinks.web.conftest import Camera, wait_for
from runtime.sinks.web.test_pictures import frozen
from sparsevit_runtime import Outlet, Session, __version__, open_sink
from sparsevit_runtime.errors import SinkError

pytestmark = pytest.mark.timed


def scraped(served) -> dict[str, dict[tuple, float]]:
    """Samples by name, then by the values of their labels in the order of the labels' names."""
    status, headers, body = served.ask("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain")
    samples: dict[str, dict[tuple, float]] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            key = tuple(value for _, value in sorted(sample.labels.items()))
            samples.setdefault(sample.name, {})[key] = sample.value
    return samples


def test_captured_is_processed_dropped_failed_and_in_flight_at_every_moment(serve):
    served = serve({"left": Camera(), "right": Camera()})
    served.look().next()
    for _ in range(12):
        found = scraped(served)
        frames, flight = found["sparsevit_frames_total"], found["sparsevit_frames_in_flight"]
        for source in ("left", "right"):
            parts = sum(frames[outcome, source] for outcome in ("processed", "dropped", "failed"))
            assert frames["captured", source] == parts + flight[(source,)]
        time.sleep(0.02)
    served.session.stop()
    assert served.session.wait(10)
    frames = scraped(served)["sparsevit_frames_total"]
    for source in ("left", "right"):
        counts = served.session.metrics.sources[source]
        assert counts.in_flight == 0 and counts.captured > 5
        for outcome in ("captured", "processed", "dropped", "failed"):
            assert frames[outcome, source] == getattr(counts, outcome)


def test_metrics_tell_what_the_session_knows(serve):
    served = serve({"front": Camera()}, level=0.5)
    wait_for(lambda: len(served.results) > 10)
    served.look().next()
    found = scraped(served)
    assert found["sparsevit_build_info"] == {("onnxruntime", "tiny", __version__): 1}
    assert found["sparsevit_sparsity_ratio"] == {(): 0.5}
    assert found["sparsevit_kept_windows"] == {("0",): 24, ("1",): 12}
    assert found["sparsevit_viewers"] == {(): 1}
    states = found["sparsevit_source_state"]
    assert states["front", "live"] == 1 and sum(states.values()) == 1 and len(states) == 6
    assert found["sparsevit_source_reconnects_total"] == {("broke", "front"): 0, ("silent", "front"): 0}
    assert abs(found["sparsevit_source_last_frame_timestamp_seconds"][("front",)] - time.time()) < 5
    assert {stage for (stage,) in found["sparsevit_stage_seconds_count"]} >= {"inference", "latency"}
    assert 0 < found["sparsevit_stage_seconds_sum"][("inference",)] < 60
    ages, count = found["sparsevit_frame_age_seconds_bucket"], found["sparsevit_frame_age_seconds_count"][("front",)]
    assert ages["+Inf", "front"] == count > 10
    assert ages["0.01", "front"] <= ages["1.0", "front"] <= count
    assert found["sparsevit_frame_age_seconds_sum"][("front",)] > 0
    (name,) = {sink for _, sink in found["sparsevit_sink_results_total"] if sink != "keep"}
    assert found["sparsevit_sink_errors_total"][(name,)] == 0
    assert (name,) in found["sparsevit_sink_queue_depth"]


def test_two_sinks_have_metrics_of_their_own(serve):
    one, two = serve(level=0.5, start=False), serve(level=0.75, start=False)
    assert scraped(one)["sparsevit_sparsity_ratio"] != scraped(two)["sparsevit_sparsity_ratio"]


def test_it_is_ready_while_a_source_delivers(serve):
    served = serve(start=False)
    assert served.ask("/healthz")[0] == 200 and served.ask("/readyz")[0] == 503
    served.session.start()
    wait_for(lambda: served.ask("/readyz")[0] == 200)
    served.session.stop()
    wait_for(lambda: served.ask("/readyz")[0] == 503)
    assert served.ask("/healthz")[0] == 200


def test_of_sessions_in_turn_the_last_is_shown_and_viewers_stay(serve, make_model):
    served = serve({"first.mp4": Camera()})
    stream = served.look()
    assert stream.next()
    served.session.close()
    with Session(make_model().runner, {"second.mp4": Camera()}, [Outlet(served.sink)], level=0.5) as session:
        served.sink.attach(session)
        wait_for(lambda: session.metrics.sources["second.mp4"].processed > 2)
        state = served.state()
        assert [camera["name"] for camera in state["cameras"]] == ["second.mp4"]
        assert state["level"]["sparsity"] == 0.5 and state["viewers"] == 1
        assert {source for _, source in scraped(served)["sparsevit_frames_total"]} == {"second.mp4"}
        assert served.look().next()


def test_without_a_session_it_answers_all_the_same():
    with open_sink("http://localhost:0") as sink, socket.create_connection(sink.name[7:].split(":")) as visitor:
        visitor.sendall(b"GET /api/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := visitor.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200") and b'"cameras":[]' in answer


def test_it_closes_at_once_whoever_looks_and_leaves_no_thread(serve):
    served = serve({"front": Camera(size_wh=(640, 480))}, "quality=95")
    streams = [served.look() for _ in range(3)]
    assert all(stream.next() for stream in streams)
    dead = frozen(served.port)
    idle = socket.create_connection(("127.0.0.1", served.port))
    with connect(f"ws://127.0.0.1:{served.port}/ws") as page:
        page.recv(timeout=5)
        wait_for(lambda: served.state()["viewers"] == 5)
        time.sleep(0.3)  # what the dead one does not read piles up
        start = time.monotonic()
        served.sink.close()
        assert time.monotonic() - start < 1.0
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("sparsevit-web")]
    assert left == []
    dead.close()
    idle.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", served.port), timeout=1)
    served.sink.close()
    with pytest.raises(SinkError, match="closed"):
        served.sink.write(served.results[-1])


def test_a_port_in_use_is_told_when_it_is_opened(serve):
    served = serve(start=False)
    with pytest.raises(SinkError, match=f"port {served.port}: another program uses the port; end it, or take another"):
        open_sink(f"http://localhost:{served.port}")


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(SinkError, match="no address of this machine"):
        open_sink("http://192.0.2.1:8080?token=long-enough")


def test_connections_are_bounded_and_come_free_again(serve):
    served = serve(start=False)
    idle = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(64)]
    with pytest.raises((ConnectionError, OSError)):
        served.ask("/healthz")
    for each in idle:
        each.close()

    def answers() -> bool:
        try:
            return served.ask("/healthz")[0] == 200
        except OSError:
            return False

    wait_for(answers)


def test_the_page_asks_for_nothing_from_elsewhere(serve):
    page = serve(start=False).ask("/")[2].decode()
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page)
    assert "@import" not in page and "url(" not in page
