"""A run that is seen in a browser."""

from __future__ import annotations

import json
import re
import urllib.request
from contextlib import ExitStack

import pytest

from sparsevit_apps.outputs import Outputs
from sparsevit_apps.running import run_model
from sparsevit_runtime import load, open_source

pytestmark = pytest.mark.timed

CLIP = "synthetic://street?size=96x64&frames=12"


def test_a_run_tells_once_where_it_is_seen_with_the_token(sparsevit, tiny_model):
    said = sparsevit("run", CLIP, "http://0.0.0.0:0", "-m", tiny_model())
    assert said.code == 0
    assert len(re.findall(r"^see it at http://[\w.:-]+:[0-9]+/\?token=[\w-]{22}$", said.err, re.MULTILINE)) == 1
    assert "token" not in said.out
    said = sparsevit("-q", "run", CLIP, "http://localhost:0", "-m", tiny_model())
    assert re.search(r"^see it at http://127\.0\.0\.1:[0-9]+/$", said.err, re.MULTILINE)


def test_a_port_in_use_ends_the_run_before_it_begins(sparsevit, tiny_model):
    with ExitStack() as opened:
        sinks = Outputs(["http://localhost:0"]).open(open_source(CLIP), opened, None)
        port = sinks[0].name.rpartition(":")[2]
        said = sparsevit("run", CLIP, f"http://localhost:{port}", "-m", tiny_model())
        assert said.code == 1 and f"port {port}: another program uses the port" in said.err
        opened.callback(sinks[0].close)


def test_what_is_seen_is_the_session_of_the_run(tiny_model):
    states = []
    with ExitStack() as opened, load(tiny_model(), threads=1) as model:
        source = opened.enter_context(open_source(CLIP))
        outputs = opened.enter_context(Outputs(["http://localhost:0"]))
        sinks = outputs.open(source, opened, None)

        def ask(_result, frames):
            if frames == 6:
                with urllib.request.urlopen(sinks[0].url + "api/state", timeout=10) as answer:
                    states.append(json.load(answer))

        run_model(model, source, sinks, 0.5, on_result=ask)
    (state,) = states
    assert state["session"]["state"] == "running" and state["level"]["sparsity"] == 0.5
    assert [camera["name"] for camera in state["cameras"]] == ["synthetic street, seed 0"]
    assert state["cameras"][0]["processed"] >= 6
