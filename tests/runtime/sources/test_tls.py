"""RTSP and http over TLS, from real servers with a certificate of an authority of one's own."""

from __future__ import annotations

import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from brokers import free_port
from certificates import Authority, needs_openssl
from clips import write_coded_clip
from mjpeg_camera import CameraServer
from sparsevit_runtime.errors import PermanentSourceError, SourceError, SourceNotFoundError
from sparsevit_runtime.sources import open_source
from sparsevit_runtime.sources.base import Timeouts
from sparsevit_runtime.sources.tls import read_tls

SERVER = Path(__file__).parents[3] / "benchmarks" / "rtsp_server.py"
USER = "me:s3cr%23t"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority, tmp_path_factory):
    """A process that serves a few seconds, and its port."""
    if not any(Path("/usr/lib").glob("*/girepository-1.0/GstRtspServer-1.0.typelib")):
        pytest.skip("there is no RTSP server here: apt install gir1.2-gst-rtsp-server-1.0 python3-gi")
    pytest.importorskip("av", reason="PyAV writes the clip")
    clip, port = write_coded_clip(authority.folder / "clip.mp4", frames=300), free_port()
    command = ["/usr/bin/python3", SERVER, str(port), str(clip), "me:s3cr#t", authority.certificate, authority.key]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process, port
        process.kill()


@pytest.mark.timed
@needs_openssl
def test_a_camera_is_believed_by_its_certificate_alone(server, authority, caplog):
    _, port = server
    for options in (f"?ca={authority.ca}", "?verify=no"):
        with open_source(f"rtsps://{USER}@localhost:{port}/live{options}") as source:
            assert [source.read().index for _ in range(5)] == [0, 1, 2, 3, 4]
    wrong = (
        (f"rtsps://{USER}@localhost:{port}/live", PermanentSourceError, "nobody that is trusted here.*ca=FILE"),
        (f"rtsps://me:wr0ng@localhost:{port}/live?ca={authority.ca}", PermanentSourceError, "missing or wrong"),
        (f"rtsps://{USER}@localhost:{port}/other?ca={authority.ca}", SourceNotFoundError, "no such stream"),
        (f"rtsps://{USER}@localhost:{free_port()}/live", SourceError, "nothing listens at port"),
    )
    for uri, kind, said in wrong:
        with pytest.raises(kind, match=said) as caught:
            open_source(uri, Timeouts(3, 3))
        assert "s3cr" not in str(caught.value) and "wr0ng" not in str(caught.value)


@pytest.mark.timed
@needs_openssl
def test_closing_ends_a_read_and_a_server_that_dies_is_a_lost_link(server, authority):
    process, port = server
    source = open_source(f"rtsps://{USER}@localhost:{port}/live?ca={authority.ca}", Timeouts(5, 3))
    source.read()
    process.kill()
    with pytest.raises(SourceError, match="broke after"):
        while source.read() is not None:
            pass
    source.close()
    until = time.monotonic() + 5
    while any(thread.name == "sparsevit-tls" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)


def https_camera(authority):
    """A camera that sends JPEGs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return CameraServer(tls=context)


@pytest.fixture
def camera(authority):
    server = https_camera(authority)
    yield server
    server.leave()


@needs_openssl
def test_a_camera_over_https_is_believed_by_its_certificate_alone(camera, authority):
    for options in (f"?ca={authority.ca}", "?verify=no", f"?channel=2&ca={authority.ca}&verify=yes"):
        with open_source(f"{camera.url}{options}", Timeouts(3, 3)) as source:
            assert [source.read().index for _ in range(3)] == [0, 1, 2]
            assert source.name == camera.url + ("?channel=2" if "channel" in options else "")
    assert camera.asked == ["/live", "/live", "/live?channel=2"]
    with pytest.raises(PermanentSourceError, match=r"nobody that is trusted here.*ca=FILE.*verify=no"):
        open_source(camera.url, Timeouts(3, 3))
    assert len(camera.asked) == 3


@needs_openssl
def test_a_camera_over_https_has_to_be_called_what_its_certificate_says(tmp_path):
    other = Authority(tmp_path, names="DNS:camera.lan")
    camera = https_camera(other)
    with pytest.raises(PermanentSourceError, match="for another host"):
        open_source(f"{camera.url}?ca={other.ca}", Timeouts(3, 3))
    camera.leave()


def test_a_camera_that_speaks_no_tls_is_told_of():
    camera = CameraServer()
    with pytest.raises(SourceError, match="does not speak TLS"):
        open_source(camera.url.replace("http://", "https://"), Timeouts(3, 3))
    camera.leave()


@needs_openssl
def test_options_of_tls_are_taken_out_and_the_servers_own_stay(authority):
    address = read_tls(f"rtsps://me:p%40ss@host/cam/1?channel=2&ca={authority.ca}&verify=yes&subtype=a%2Fb")
    assert (address.host, address.port, address.user) == ("host", 322, "me:p%40ss@")
    assert address.target == "/cam/1?channel=2&subtype=a%2Fb" and address.ca == authority.ca and address.verify
    assert address.local(5000) == "rtsp://me:p%40ss@127.0.0.1:5000/cam/1?channel=2&subtype=a%2Fb"
    assert read_tls("rtsps://[::1]:99").url == "rtsps://[::1]:99/"
    assert read_tls("https://me:p@host/a.mp4?verify=no").url == "https://me:p@host/a.mp4"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("rtsps:///live", "no host"),
        ("rtsps://host/live?verify=maybe", "verify is yes or no"),
        ("https://host/live?verify=maybe", "verify is yes or no.*accepted: https://"),
        ("https://host/live?ca=missing.pem", "cannot be read"),
        ("rtsps://host/live?ca=missing.pem", "cannot be read"),
        (f"rtsps://host/live?ca={__file__}", "holds no certificate"),
    ],
)
def test_addresses_that_mean_nothing(uri, said):
    with pytest.raises(PermanentSourceError, match=said):
        open_source(uri)
