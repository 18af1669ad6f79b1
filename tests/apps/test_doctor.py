from __future__ import annotations

import subprocess
import sys

import cv2
import onnxruntime
import pytest

from sparsevit_apps.doctor.findings import DoctorReport
from sparsevit_apps.doctor.probes import opencv_features


@pytest.fixture
def doctor(environment):
    """Runs the doctor in a fresh interpreter after some code, with more folders on the path."""

    def run(before: str = "", path: str = "") -> tuple[DoctorReport, int, str]:
        code = f"import sys\n{before}\nsys.argv = ['sparsevit', 'doctor', '--json']\n"
        code += "from sparsevit_apps.cli import main\nmain()"
        variables = environment | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{path}", "DISPLAY": ":7"}
        line = [sys.executable, "-c", code]
        done = subprocess.run(line, capture_output=True, text=True, env=variables, timeout=60, check=False)
        return DoctorReport.model_validate_json(done.stdout), done.returncode, done.stderr

    return run


def by_name(report: DoctorReport) -> dict:
    return {f.name: f for f in report.findings}


def test_what_reads_the_cameras_of_a_jetson(doctor):
    found = by_name(doctor()[0])
    for name in ("hardware decoder", "csi sensors"):
        assert found[name].area == "capture" and found[name].status == "missing" and found[name].advice
    assert "nvv4l2decoder" in found["hardware decoder"].value and "FFmpeg" in found["hardware decoder"].value
    assert "nvarguscamerasrc" in found["csi sensors"].value
    system = by_name(doctor(before="sys.path.append('/usr/lib/python3/dist-packages')")[0])
    if system["pipelines"].status == "missing":
        pytest.skip("this Python has no PyGObject: apt install python3-gi gir1.2-gst-rtsp-server-1.0")
    assert system["pipelines"].value.startswith("GStreamer")


def test_table(sparsevit):
    said = sparsevit("doctor")
    assert said.code == 0, said.err
    for word in ("python", "cpu", "onnxruntime", "opencv", "cameras", "display", "tensorrt", "export"):
        assert word in said.out


def test_what_is_here(doctor):
    report, code, _ = doctor()
    found = by_name(report)
    assert code == 0 and report.healthy
    assert onnxruntime.__version__ in found["onnxruntime"].value
    assert "CPU" in found["onnxruntime"].value
    assert cv2.__version__ in found["opencv"].value
    assert (found["display"].status, found["display"].value) == ("ok", ":7")
    assert found["export"].status == "ok"


def test_every_problem_has_a_next_step(doctor):
    report, _, _ = doctor("sys.modules['onnxruntime'] = None")
    lacking = [f for f in report.findings if f.status != "ok"]
    assert lacking
    # without a GPU there is nothing to do about CUDA and TensorRT
    no_gpu = {"cuda", "tensorrt"} if by_name(report)["gpu"].status == "missing" else set()
    assert {f.name for f in lacking if not f.advice} <= no_gpu


@pytest.mark.parametrize(("module", "name"), [("onnxruntime", "onnxruntime"), ("cv2", "opencv")])
def test_without_a_required_library(doctor, module, name):
    report, code, err = doctor(f"sys.modules[{module!r}] = None")
    assert code == 1 and not report.healthy
    assert by_name(report)[name].status == "missing"
    assert "pip install" in by_name(report)[name].advice
    assert name in err and "Traceback" not in err


def test_packages_that_exclude_each_other(doctor, tmp_path):
    for name in ("onnxruntime_gpu", "onnxruntime", "opencv_python", "opencv_python_headless"):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    found = by_name(doctor(path=str(tmp_path))[0])
    assert found["onnxruntime"].status == "warn"
    assert "exclude each other" in found["onnxruntime"].advice
    assert found["opencv"].status == "warn"
    assert "keep one" in found["opencv"].advice


def test_the_library_of_custom_ops(doctor, tmp_path):
    found = by_name(doctor()[0])["custom ops"]
    assert found.area == "inference" and (found.status == "missing") == bool(found.advice)
    library = tmp_path / "ops.so"
    library.write_bytes(b"\x7fELF sparsevit-ort api=18 cudart=13000 architectures=87 nodes=WindowGather,NmsKeep;")
    name = "import os; os.environ['SPARSEVIT_ORT_OPS'] = "
    found = by_name(doctor(f"{name}{str(library)!r}")[0])["custom ops"]
    assert found.status == "ok"
    assert found.value == f"{library}, 2 kinds of nodes, cudart=13000 architectures=87"
    found = by_name(doctor(f"{name}'/nowhere/ops.so'")[0])["custom ops"]
    assert found.status == "missing" and found.value.startswith("none")


BUILD = "  GUI:                           {gui}\n  Video I/O:\n    FFMPEG: {ffmpeg}\n    GStreamer:   {gstreamer}\n"


@pytest.mark.parametrize(
    ("gui", "ffmpeg", "gstreamer", "statuses"),
    [
        ("NONE", "YES", "NO", ("ok", "missing", "missing")),
        ("GTK3", "YES", "YES (1.20.3)", ("ok", "ok", "ok")),
        ("QT5", "NO", "YES (1.16.3)", ("ok", "ok", "ok")),
        ("NONE", "NO", "NO", ("missing", "missing", "missing")),
    ],
)
def test_opencv_features(gui, ffmpeg, gstreamer, statuses):
    found = {f.name: f for f in opencv_features(BUILD.format(gui=gui, ffmpeg=ffmpeg, gstreamer=gstreamer))}
    assert tuple(found[name].status for name in ("ffmpeg", "gstreamer", "windows")) == statuses
    assert all(bool(f.advice) == (f.status == "missing") for f in found.values())
