from __future__ import annotations

import inspect
import json
import subprocess
import sys

import pytest

from sparsevit_apps import camera_demo


@pytest.fixture
def demo(environment, tmp_path):
    """Runs the demo as a user does."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "sparsevit_apps.camera_demo", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60, check=False)

    return run


def test_runs_from_source_to_sink(demo, tiny_model, tmp_path):
    out = tmp_path / "out.jsonl"
    done = demo(
        "synthetic://street?size=96x64&frames=3", out, "--model", tiny_model(), "--sparsity", "0.5", "--activity"
    )
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["frame"] for line in out.read_text().splitlines()] == [0, 1, 2]
    assert "frame 0 of synthetic street" in done.stderr and "50% pruned, inference" in done.stderr


def test_errors_are_told_in_a_line(demo, tiny_model, tmp_path):
    done = demo(tmp_path / "none.mp4", "null://", "--model", tiny_model())
    assert done.returncode == 1
    assert done.stderr.startswith("error: there is no file")
    assert "Traceback" not in done.stderr


def test_is_short_and_public():
    source = inspect.getsource(camera_demo)
    assert len(source.splitlines()) < 80
    assert "sparsevit_runtime._" not in source and "cv2" not in source
