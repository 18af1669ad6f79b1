import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PLAIN = {"onnxruntime", "opencv-python-headless"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("device_requirements", ROOT / "build_hooks/device_requirements.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "found,jetson,expected",
    [
        ({"onnxruntime": None, "cv2": None}, False, PLAIN),  # fresh laptop
        ({"onnxruntime": ["onnxruntime"], "cv2": ["opencv-python-headless"]}, False, PLAIN),  # installed by us before
        ({"onnxruntime": ["onnxruntime-gpu"], "cv2": None}, False, {"opencv-python-headless"}),  # x86 GPU box
        ({"onnxruntime": None, "cv2": ["opencv-contrib-python"]}, False, {"onnxruntime"}),
        ({"onnxruntime": None, "cv2": []}, True, {"onnxruntime"}),  # Jetson, OpenCV from apt
        ({"onnxruntime": None, "cv2": None}, True, {"onnxruntime"}),  # Jetson without OpenCV: apt, never PyPI
    ],
)  # fmt: skip
def test_requirements(hook, found, jetson, expected):
    names = {r.split(">=")[0] for r in hook.requirements(found, jetson)}
    assert names == expected | {"numpy", "pydantic", "typer", "rich"}


def test_providers_sees_the_target_environment_through_build_isolation(hook, tmp_path, monkeypatch):
    """An environment with OpenCV from apt (no metadata) and onnxruntime-gpu, probed as pip's isolated build does."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    site = next((tmp_path / "env" / "lib").glob("python3*/site-packages"))
    for package in ("cv2", "onnxruntime"):
        (site / package).mkdir()
        (site / package / "__init__.py").touch()
    info = site / "onnxruntime_gpu-1.20.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.20\n")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")
    isolated = tmp_path / "isolated"
    isolated.mkdir()
    (isolated / "cv2.py").write_text("raise RuntimeError('the build environment must not be asked')")
    monkeypatch.setenv("PYTHONPATH", str(isolated))
    found = hook.providers(str(tmp_path / "env" / "bin" / "python"))
    assert found == {"onnxruntime": ["onnxruntime-gpu"], "cv2": []}


def test_other_fields_are_refused(hook):
    with pytest.raises(ValueError, match="license"):
        hook.dynamic_metadata("license")
