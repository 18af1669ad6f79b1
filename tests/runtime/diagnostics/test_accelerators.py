from __future__ import annotations

import importlib.util
import shutil

import pytest

from sparsevit_runtime.diagnostics import accelerators


def nvidia_smi(folder, script):
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_the_first_gpu_that_nvidia_smi_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators.find_nvidia_gpu() is None
    nvidia_smi(tmp_path, 'echo "NVIDIA H100, 580.95, 81559 MiB"; echo "NVIDIA H100, 580.95, 81559 MiB"')
    assert accelerators.find_nvidia_gpu() == "NVIDIA H100, 580.95, 81559 MiB"
    nvidia_smi(tmp_path, 'echo "no devices were found"; exit 6')
    assert accelerators.find_nvidia_gpu() is None


def test_what_this_machine_has_is_text_or_nothing():
    for found in (accelerators.find_cuda(), accelerators.find_tensorrt(), accelerators.find_nvidia_gpu()):
        assert found is None or found.strip() == found != ""
    assert shutil.which("nvidia-smi") or accelerators.find_nvidia_gpu() is None
    assert accelerators.jetson_release().count("\n") == 0


@pytest.mark.parametrize("missing", ["", "tensorrt_rtx"])
def test_tensorrt_for_rtx_is_known(monkeypatch, missing):
    """The tests have it installed."""
    assert importlib.util.find_spec("tensorrt_rtx") is not None
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert ("TensorRT for RTX 1." in (accelerators.find_tensorrt() or "")) == (not missing)
