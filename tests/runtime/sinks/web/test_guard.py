import json

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from runtime.sinks.web.conftest import Camera, wait_for
from sparsevit_runtime.errors import SourceError
from sparsevit_runtime.live.outlet import Outlet

pytestmark = pytest.mark.timed

TOKEN = "right-token-1"
PLACES = ("/", "/stream.mjpg", "/snapshot.jpg", "/api/state", "/metrics")
COOKIE = "sparsevit_{}={}"


@pytest.fixture
def guarded(serve):
    return serve(query=f"token={TOKEN}")


@pytest.mark.parametrize("path", PLACES)
def test_nobody_comes_in_without_the_token(guarded, path):
    assert guarded.ask(path)[0] == 401
    for wrong in ("wrong-token-1", TOKEN[:-1], TOKEN + "1", "", "%ff%fe"):
        assert guarded.ask(f"{path}?token={wrong}")[0] in (401, 403)
    assert guarded.ask(path + "?" + "&".join(f"token={i}" for i in range(100)))[0] == 401
    assert guarded.ask(path, headers={"Authorization": "Bearer wrong-token-1"})[0] in (401, 403)
    assert guarded.ask(path, headers={"Cookie": COOKIE.format(guarded.port, "wrong")})[0] in (401, 403)


def test_neither_controls_nor_sockets_open_without_the_token(guarded):
    assert guarded.ask("/api/level", {"sparsity": 0.5})[0] == 401
    assert guarded.ask("/api/level?token=wrong", {"sparsity": 0.5})[0] == 403
    assert guarded.session.level.is_dense
    for query in ("", "?token=wrong-token-1"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{guarded.port}/ws{query}")
        assert refused.value.response.status_code == 403


def test_health_says_yes_or_no_to_everybody(guarded):
    assert guarded.ask("/healthz")[::2] == (200, b"ok\n")
    assert guarded.ask("/readyz")[::2] == (200, b"ready\n")


def test_the_token_opens_as_an_option_as_a_bearer_and_as_the_cookie_of_the_first_visit(guarded):
    status, headers, _ = guarded.ask(f"/?token={TOKEN}")
    cookie = headers["set-cookie"]
    assert status == 200 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
    mine = {"Cookie": "other=1; " + cookie.partition(";")[0]}
    for path in ("/", "/snapshot.jpg", "/api/state", "/metrics"):
        assert guarded.ask(path, headers=mine)[0] == 200
        assert guarded.ask(path, headers={"Authorization": f"Bearer {TOKEN}"})[0] == 200
    assert guarded.look(headers=mine).next()
    assert guarded.ask("/api/level", {"sparsity": 0.5}, headers=mine)[0] == 200
    with connect(f"ws://127.0.0.1:{guarded.port}/ws", additional_headers=mine) as socket:
        assert "history" in json.loads(socket.recv(timeout=5))
    assert guarded.sink.url == f"http://127.0.0.1:{guarded.port}/?token={TOKEN}"
    assert TOKEN not in guarded.sink.name


def test_loopback_answers_to_its_own_names_only(serve):
    served = serve()
    for host in ("localhost", "127.0.0.1:{}", "LOCALHOST:{}", "[::1]:{}"):
        assert served.ask("/api/state", headers={"Host": host.format(served.port)})[0] == 200
    for host in ("evil.example", "evil.example:{}", "localhost.evil.example", "127.0.0.1.evil.example"):
        assert served.ask("/api/state", headers={"Host": host.format(served.port)})[0] == 421


def test_pages_of_other_sites_can_do_nothing(serve):
    served = serve()
    own, port = f"http://127.0.0.1:{served.port}", served.port
    for origin in ("http://evil.example", "null", f"http://localhost:{port + 1}", f"https://127.0.0.1:{port + 1}"):
        assert served.ask("/api/level", {"sparsity": 0.5}, headers={"Origin": origin})[0] == 403
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{port}/ws", origin=origin)
        assert refused.value.response.status_code == 403
    assert served.session.level.is_dense
    for path in ("/stream.mjpg", "/snapshot.jpg", "/api/state", "/metrics"):
        assert served.ask(path, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"})[0] == 403
    assert served.ask("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})[0] == 200
    assert served.ask("/api/level", {"sparsity": 0.5}, headers={"Origin": own})[0] == 200
    with connect(f"ws://127.0.0.1:{port}/ws", origin=own) as socket:
        assert socket.recv(timeout=5)


def test_behind_a_proxy_the_page_may_have_another_name(guarded):
    through = {"Host": "cam.example.org", "Authorization": f"Bearer {TOKEN}", "Origin": "https://cam.example.org"}
    assert guarded.ask("/api/level", {"sparsity": 0.5}, headers=through)[0] == 200


def test_every_answer_has_the_headers_that_protect_it(guarded):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in ("/", "/api/state", "/snapshot.jpg", "/metrics", "/none"):
        for given in (bearer, {}):
            _, headers, _ = guarded.ask(path, headers=given)
            assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store" and "access-control-allow-origin" not in headers
            assert headers["cross-origin-resource-policy"] == "same-origin" and "server" not in headers
    policy = guarded.ask("/", headers=bearer)[1]["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_no_address_no_path_and_no_password_leaves(serve, tmp_path):
    folder = tmp_path / "lair-folder"
    folder.mkdir()
    address = "rtsp://operator:pa55word@10.0.0.7:5540/lair-stream?token=lair-key"
    broken = Camera(error=SourceError(f"cannot read {address}, see {folder}/log"))

    def fail(result, picture):
        raise OSError(f"no space left in {folder}/out.jsonl")

    served = serve(
        {address: Camera(), f"{folder}/clip.mp4": Camera(), "broken": broken},
        outlets=[Outlet(fail, name=f"{folder}/out.jsonl"), Outlet(lambda *_: None, name="http://u:pa55word@h/lair-x")],
    )
    wait_for(lambda: served.session.sources["broken"].state.value == "lost")
    wait_for(lambda: any(o.error for o in served.session.metrics.outlets.values()))
    said = []
    for path in (*PLACES[2:], "/", "/none", "/readyz", "/stream/none.mjpg"):
        _, headers, body = served.ask(path)
        said.append(repr(headers) + body.decode("latin-1"))
    with connect(f"ws://127.0.0.1:{served.port}/ws") as socket:
        said += [socket.recv(timeout=5) for _ in range(3)]
        socket.send('{"sparsity": 9}')
        said += [socket.recv(timeout=5) for _ in range(2)]
    state = served.state()
    assert [camera["name"] for camera in state["cameras"]] == ["10.0.0.7", "clip.mp4", "broken"]
    assert {"out.jsonl", "h"} < {output["name"] for output in state["outputs"]}
    assert [output["name"] for output in state["outputs"] if output["failed"]] == ["out.jsonl"]
    for secret in ("operator", "pa55word", ":5540", "lair", str(tmp_path)):
        assert not any(secret in text for text in said), secret


def test_texts_of_others_are_no_markup(serve):
    served = serve({'<img src=x onerror="alert(1)">': Camera()})
    status, _, page = served.ask("/")
    assert status == 200 and b"onerror" not in page and b"innerHTML" not in page
    assert served.ask("/api/state")[1]["content-type"] == "application/json"
