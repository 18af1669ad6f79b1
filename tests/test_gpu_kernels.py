"""What tests/gpu needs and what it says where that is missing; its own tests need a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpu_kernels import CannotBuildError, build_plugins

ROOT = Path(__file__).parents[1]
#: What this project installs and a machine with nvcc, torch and pytest alone lacks.
NOT_THERE = "onnx onnxscript onnxruntime cv2 pydantic typer rich tensorrt tensorrt_rtx cuda supervision safetensors"
BARE = f"""
import sys
sys.modules.update(dict.fromkeys({NOT_THERE.split()!r}))
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", "tests/gpu"]))
"""


def test_the_kernels_tests_are_collected_without_what_this_project_installs():
    done = subprocess.run([sys.executable, "-c", BARE], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tests/gpu/test_kernels.py::test_every_case[gather]" in done.stdout
    assert "test_engine.py:" in done.stdout and "models are exported, and engines built and run, with" in done.stdout
    assert "test_letterbox.py:" in done.stdout and "which needs cv2" in done.stdout


def test_a_plugin_library_that_cannot_be_built_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CannotBuildError, match="cmake is not on PATH"):
        build_plugins(tmp_path / "build", "86")
    assert not (tmp_path / "build").exists()
