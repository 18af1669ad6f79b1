"""What stands behind an http address is what its server says, whatever the path looks like."""

from __future__ import annotations

import socket

import pytest

from clips import write_clip
from served import PASSWORD, basic, camera, digest, file, jpeg, serve, status
from sparsevit_runtime.errors import PermanentSourceError, SourceError, SourceNotFoundError
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.base import Timeouts
from sparsevit_runtime.sources.capture import opencv_has

pytestmark = pytest.mark.skipif(not opencv_has("FFMPEG"), reason="this OpenCV has no FFmpeg to read http streams")


@pytest.fixture
def server():
    with serve() as serving:
        yield serving


@pytest.fixture
def clip(tmp_path):
    pytest.importorskip("av", reason="PyAV writes the clips")
    return lambda name, frames=12: write_clip(tmp_path / name, frames).read_bytes()


@pytest.mark.parametrize("path", ["/photo.jpg", "/live", "/a.mp4"])
@pytest.mark.parametrize("content_type", ["image/jpeg", "application/octet-stream"])
def test_a_picture_is_one_frame_and_the_end(server, path, content_type):
    server.routes[path] = file(jpeg(90), content_type)
    with open_source(server.url(path)) as source:
        assert (source.live, source.frame_count, source.size_wh) == (False, 1, (64, 48))
        frames = list(source)
    assert len(frames) == 1 and abs(frames[0].image.mean() - 90) < 3


def test_a_picture_that_is_cut_short_is_an_error(server):
    server.routes["/photo.jpg"] = file(jpeg(90)[:-40], "image/jpeg")
    with pytest.raises(SourceError, match="truncated"):
        open_source(server.url("/photo.jpg"))


@pytest.mark.parametrize(("path", "content_type"), [("/a.ts", "video/mp2t"), ("/stream", "video/mp2t"), ("/live", "")])
def test_a_video_of_a_stated_length_ends(server, clip, path, content_type):
    server.routes[path] = file(clip("a.ts"), content_type)
    with open_source(server.url(path)) as source:
        assert not source.live
        assert [f.index for f in source] == list(range(12)) and source.read() is None


def test_a_transport_stream_without_a_length_is_a_camera(server, clip):
    data = clip("a.ts", 30)

    def answer(request):
        request.send_response(200)
        request.send_header("Content-Type", "video/mp2t")
        request.end_headers()
        request.wfile.write(data)

    server.routes["/a.mp4"] = answer
    with open_source(server.url("/a.mp4")) as source:
        assert source.live
        assert source.read().timestamp_ns > 1_600_000_000 * 10**9
        with pytest.raises(SourceError, match="broke after"):
            list(source)


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("master", [True, False])
def test_a_playlist_says_itself_whether_it_ends(server, clip, ended, master):
    playlist = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
    playlist += "#EXTINF:1.2,\n0.ts\n" * 3 + ("#EXT-X-ENDLIST\n" if ended else "")
    server.routes["/hls/0.ts"] = file(clip("a.ts", 30), "video/mp2t")
    server.routes["/hls/media"] = file(playlist.encode(), "application/vnd.apple.mpegurl")
    variants = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000\nmedia\n"
    server.routes["/hls/master.m3u8"] = file(variants, "application/x-mpegURL")
    with open_source(server.url("/hls/master.m3u8" if master else "/hls/media")) as source:
        assert source.live is not ended
        assert source.read().image.shape == (48, 64, 3)


@pytest.mark.parametrize("path", ["/a.mp4", "/live", "/a.jpg"])
def test_a_host_that_is_not_there_is_a_network_error(path):
    with pytest.raises(SourceError, match="there is no host 'no-such-host.invalid'") as caught:
        open_source(f"https://{path and 'me:secret@'}no-such-host.invalid{path}")
    assert not isinstance(caught.value, PermanentSourceError) and "secret" not in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_nobody_listening_and_a_server_that_says_nothing_are_network_errors():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/a.mp4"
        with pytest.raises(SourceError, match="nothing listens at port"):
            open_source(url)
        listener.listen()
        with pytest.raises(SourceError, match="does not answer"):
            open_source(url, Timeouts(0.2, 0.2))


@pytest.mark.parametrize(
    ("code", "kind", "advice"),
    [
        (401, PermanentSourceError, "user and password are missing or wrong.*write http://user:password@host"),
        (403, PermanentSourceError, "may not see it"),
        (404, SourceNotFoundError, "nothing at this path"),
        (503, SourceError, "answers with status 503"),
    ],
)
def test_a_refusal_says_what_to_do(server, code, kind, advice):
    server.routes["/live"] = status(code)
    with pytest.raises(SourceError, match=advice) as caught:
        open_source(server.url("/live", "me:secret@"))
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value) and "***@127" in str(caught.value)


def test_a_web_page_is_no_stream(server):
    server.routes["/"] = file(b"<html><body><img src='/mjpeg'></body></html>", "text/html; charset=utf-8")
    with pytest.raises(PermanentSourceError, match="is a web page"):
        open_source(server.url("/"))


@pytest.mark.parametrize("how", [basic, digest])
def test_user_and_password_serve_pictures_cameras_and_videos(server, clip, how):
    user = f"me:{PASSWORD.replace('#', '%23')}@"
    server.routes["/a.jpg"] = how(file(jpeg(9), "image/jpeg"))
    server.routes["/mjpeg"] = how(camera([jpeg(9)] * 3))
    server.routes["/a.ts"] = how(file(clip("a.ts"), "video/mp2t"))
    assert len(list(open_source(server.url("/a.jpg", user)))) == 1
    assert len(list(open_source(server.url("/a.ts", user)))) == 12
    with open_source(server.url("/mjpeg", user)) as source:
        assert source.live and "***" in source.name
        assert source.read().image.shape == (48, 64, 3)
    asked = len(server.asked)
    with pytest.raises(PermanentSourceError, match="missing or wrong"):
        open_source(server.url("/a.jpg", "me:wrong@"))
    assert len(server.asked) - asked <= 2  # a camera locks who tries again and again


def test_a_video_whose_server_goes_away_is_a_lost_link(clip):
    data = clip("a.mp4", 300)

    def half(request):
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data[: len(data) // 2])

    with serve() as server:
        server.routes["/a.mp4"] = half
        source = open_source(server.url("/a.mp4"), Timeouts(1.0, 1.0))
        assert source.frame_count == 300
    with pytest.raises(SourceError, match="broke off at frame"):
        list(source)
