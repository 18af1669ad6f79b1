"""What the file of a service may say, and how it is told what it may not."""

from __future__ import annotations

import logging
import os
import re
import signal
import time
from pathlib import Path

import pytest

from sparsevit_apps.service.config import load_config
from sparsevit_apps.service.logs import JsonFormatter
from sparsevit_apps.service.parts import open_sinks, open_sources
from sparsevit_apps.service.service import Signals
from sparsevit_apps.signals import Terminated
from sparsevit_runtime import Tracking
from sparsevit_runtime.errors import ConfigError, SinkError

ROOT = Path(__file__).parents[2]
SOURCE = '[sources.front]\nuri = "rtsp://joe:secret@camera/live"\n'
SINK = '[sinks.lines]\nuri = "all.jsonl?every=1h"\n'


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        return path

    return write


def test_a_file_says_models_sources_sinks_and_a_target(written):
    config = load_config(
        written(
            '[model]\npath = "m.onnx"\nthreshold = 0.4\n'
            "[sources.front]\nuri = 0\nmax_reconnect = 3\ntimeout_ms = 5000\n"
            '[sources.rear]\nuri = "rtsp://rear"\n'
            '[sinks.video]\nuri = "rec/{source}.mp4?every=10m&keep=24"\nsources = ["rear"]\n'
            '[sinks.page]\nuri = "http://localhost:8080"\n'
            '[governor]\ntarget_ms = 100\nmax_age_ms = 500.5\nlevels = [0, [0.6, 0.6, 0.4, 0], "plan.json"]\n'
        )
    )
    assert (config.model.file, config.model.threshold) == ("m.onnx", 0.4)
    assert (config.sources["front"].uri, config.sources["front"].max_reconnect) == ("0", 3)
    assert config.sources["rear"].max_reconnect is None
    assert config.sources_of(config.sinks["video"]) == ("rear",)
    assert config.sources_of(config.sinks["page"]) == ("front", "rear")
    assert config.governor.levels == (0.0, (0.6, 0.6, 0.4, 0.0), "plan.json")


def test_what_nobody_says_is_the_bundled_model_for_ever(written):
    config = load_config(written(SOURCE + SINK))
    assert config.model.file == "street-scenes"
    assert config.sources["front"].max_reconnect is None
    assert not config.governor.has_target
    assert config.tracking is None


def test_objects_are_tracked_and_counted_where_a_table_says_so(written):
    assert load_config(written(SOURCE + SINK + "[tracking]\n")).tracking.tracking == Tracking()
    places = 'count_lines = ["0,0.5,1,0.5,name=gate"]\ncount_zones = ["0,0,1,0,1,1"]\nlost_s = 3\n'
    tracking = load_config(written(SOURCE + SINK + "[tracking]\n" + places)).tracking.tracking
    assert tracking.lost_s == 3
    assert [(place.kind, place.name) for place in tracking.count] == [("line", "gate"), ("zone", "zone 1")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[modl]\n", "modl is an unknown key; did you mean 'model'? accepted: model, sources, sinks, governor, "),
        ("[tracking]\ncount_line = []\n", "tracking.count_line is an unknown key; did you mean 'count_lines'?"),
        ("[tracking]\ncount_lines = ['0,0,1']\n", "tracking: 3 numbers make no line to count at"),
        ("[tracking]\nlost_s = -1\n", "tracking.lost_s is -1; accepted: greater than or equal to 0"),
        ("[model]\nsparsty = 0.5\n", "model.sparsty is an unknown key; did you mean 'sparsity'?"),
        ("[model]\nthreads = 0\n", "model.threads is 0; accepted: greater than or equal to 1"),
        ("[model]\nbackend = 'tensort'\n", "model.backend is 'tensort'; accepted: 'auto', 'onnxruntime' or 'tensorrt'"),
        ("[model]\nsparsity = true\n", "model.sparsity is True; accepted: a number, a list of numbers, or text"),
        ("[model]\nname = 'a'\npath = 'b'\n", "name and path are both given"),
        ("[sources.front]\nurl = 'x'\nuri = 'y'\n", "sources.front.url is an unknown key; did you mean 'uri'?"),
        ("[sources.front]\nuri = '0'\ntimeout_ms = -1\n", "sources.front.timeout_ms is -1; accepted: greater than 0"),
        ("[sources.'a/b']\nuri = '0'\n", "a name has letters, digits and _ . -"),
        ("[sources]\n", "sources is empty; name at least one"),
        ("[sinks.a]\nuri = 'null://'\nsources = ['frnt']\n", "sinks.a.sources names 'frnt'; did you mean 'front'?"),
        ("[sinks.a]\nuri = 'out.mp5'\n", "sinks.a.uri: cannot write '.mp5' files"),
        ("[sinks.a]\nuri = 'out.mp4?evry=1h'\n", "sinks.a.uri: 'out.mp4?evry=1h' cannot be read"),
        ("[sinks.a]\nuri = 'display://'\n", "a service has no screen"),
        ("[sinks.a]\nuri = 'out.mp4'\n", "has no end, and the next start would write over it"),
        ("[sinks.a]\nuri = 'shots/'\n", "has no end, and the next start would write over it"),
        ("[sinks.a]\nuri = './all.jsonl?size=1MB'\n", "sinks.lines.uri is that of sinks.a, too"),
        ("[sources.b]\nuri = 1\n[sinks.a]\nuri = 'a.mp4?every=1m'\n", "takes one source, and b, front are given"),
        ("[sinks.a]\nuri = 'mqtt://joe:secret@host'\n", "sinks.a.uri: the mqtt address has no host, or no topic"),
        ("[governor]\nlevels = [0, 0.5]\n", "governor.levels has no target"),
        ("[model]\nsparsity = 0.5\n[governor]\ntarget_ms = 5\n", "are both given; leave one out"),
        ("[governor]\ntarget_fps = inf\n", "governor.target_fps is inf; accepted: a finite number"),
        ("x = [", "is no TOML"),
        (f"x = {'9' * 5000}\n", "is no TOML"),
        (f"x = {'[' * 5000}\n", "is no TOML"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_told_with_file_key_and_what_is_accepted(written, text, said):
    if "mqtt" in text:
        pytest.importorskip("paho", reason="paho-mqtt is not installed")
    rest = ("" if "[sources.front]" in text or "[sources]" in text else SOURCE) + SINK
    path = written(text + rest)
    with pytest.raises(ConfigError) as told:
        load_config(path)
    assert str(told.value).startswith(f"{path}")
    assert said in str(told.value)
    assert "secret" not in str(told.value)


def test_all_that_is_wrong_is_told_at_once(written):
    with pytest.raises(ConfigError) as told:
        load_config(written("[model]\nthreads = 0\nnam = 'x'\n"))
    assert len(str(told.value).splitlines()) == 4  # sources and sinks are missing, too


def test_a_file_that_is_not_there_is_told(tmp_path):
    for name in ("nowhere.toml", "", "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(tmp_path / name)


def test_passwords_may_come_from_the_environment(written):
    path = written('[sources.front]\nuri = "rtsp://joe:${CAMERA_PASSWORD}@camera/"\n' + SINK)
    assert load_config(path, {"CAMERA_PASSWORD": "secret"}).sources["front"].uri == "rtsp://joe:secret@camera/"
    with pytest.raises(ConfigError, match="sources.front.uri needs the variable CAMERA_PASSWORD"):
        load_config(path, {})


def test_the_example_is_valid():
    pytest.importorskip("paho", reason="paho-mqtt is not installed")
    config = load_config(
        ROOT / "deploy" / "config.toml", {"CAMERA_PASSWORD": "x", "MQTT_PASSWORD": "y", "SPARSEVIT_WEB_TOKEN": "z" * 8}
    )
    assert set(config.sources) == {"front", "rear"}


def test_the_file_in_the_docs_is_valid(written):
    pytest.importorskip("paho", reason="paho-mqtt is not installed")
    (text,) = re.findall(r"^```toml\n(.*?)^```", (ROOT / "docs" / "service.md").read_text(), re.DOTALL | re.MULTILINE)
    assert load_config(written(text), {"CAMERA_PASSWORD": "x"}).governor.target_ms == 100


def test_an_address_for_others_needs_a_token_that_somebody_knows(written, monkeypatch):
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    monkeypatch.delenv("SPARSEVIT_WEB_TOKEN", raising=False)
    source = "[sources.a]\nuri = 'synthetic://street?frames=1'\n"
    config = load_config(written(source + "[sinks.p]\nuri = 'http://0.0.0.0:0'\n"))
    sources = open_sources(config)
    with pytest.raises(SinkError, match="set SPARSEVIT_WEB_TOKEN"):
        open_sinks(config, sources, 10.0, [])
    monkeypatch.setenv("SPARSEVIT_WEB_TOKEN", "a-known-token")
    (page,) = open_sinks(config, sources, 10.0, [])
    page.close()


def test_a_log_line_is_an_object_without_passwords():
    record = logging.LogRecord("a.b", logging.WARNING, "", 0, "lost %s\n", ("rtsp://joe:secret@host/x",), None)
    record.state = "lost"
    assert '"level": "warning"' in (line := JsonFormatter().format(record))
    assert '"state": "lost"' in line and "secret" not in line and "\n" not in line


def test_signals_wait_their_turn_once_there_is_something_to_complete():
    signals = Signals()
    with signals.handled():
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Terminated) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        assert stopped.value.code == 143
        signals.patient = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert [signals.next(), signals.next(), signals.next()] == [signal.SIGHUP, signal.SIGTERM, 0]
