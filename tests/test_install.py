"""A plain `pip install .` in a fresh environment, without torch, runs the bundled model."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROBE = """
import importlib.util, sys
import numpy as np
import sparsevit_runtime as sparsevit
result = sparsevit.load("street-scenes")(np.zeros((90, 160, 3), np.uint8), sparsity=0.5)
assert result.label_map.shape == (90, 160)
present = [n for n in ("torch", "onnx", "tensorrt", "supervision") if importlib.util.find_spec(n)]
assert not present, present
assert not any(name == "sparsevit_exporter" for name in sys.modules)
"""


def test_plain_install_runs_the_bundled_model(tmp_path):
    def run(*words: object) -> subprocess.CompletedProcess:
        done = subprocess.run([str(w) for w in words], cwd=tmp_path, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
        return done

    run(sys.executable, "-m", "venv", "env")
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT)
    run(python, "-c", PROBE)
    out = tmp_path / "out.mp4"
    run(python.with_name("sparsevit"), "run", "synthetic://street?size=320x240&frames=3", out)
    assert out.stat().st_size > 1000
