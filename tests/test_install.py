"""Installed from a wheel into environments as people have them: the bundled model runs, and what serves stays.

pip installs where the test is about what pip does; elsewhere uv, which unpacks a package once for all environments.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import cv2
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from host_kernels import ARCHITECTURES, COMPILED_ONCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
CLIP = "synthetic://street?size=320x240&frames=3"
PACKAGES = (
    "sparsevit_street",
    "sparsevit_runtime",
    "sparsevit_exporter",
    "sparsevit_training",
    "sparsevit_apps",
    "sparsevit",
)
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
WITH_NUMPY_1 = pytest.mark.skipif(sys.version_info >= (3, 13), reason="numpy 1 has no wheels for this Python")


class Environment:
    """A virtual environment of its own."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        self.folder = folder

    def run(self, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        line = [str(word) for word in words]
        done = subprocess.run(
            line, cwd=self.folder, env=COMPILED_ONCE, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == code, f"{line}\n{done.stdout}\n{done.stderr}"
        return done

    def pip(self, *words: object) -> str:
        # The pip that runs the tests: to install another into each environment takes seconds.
        return self.run(
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", self.python, *words
        ).stdout

    def fill(self, *words: object) -> None:
        """By uv; by pip where uv finds no packages, since it knows nothing of the index that pip is told to take."""
        line = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(self.python), *map(str, words)]
        if subprocess.run(line, cwd=self.folder, env=COMPILED_ONCE, timeout=900, check=False).returncode:
            self.install(*words)

    def install(self, *words: object) -> None:
        # Python compiles what it imports; pip would compile all that it installs, again in each environment.
        self.pip("install", "--quiet", "--no-compile", *words)

    def sparsevit(self, *words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        return self.run(self.python.with_name("sparsevit"), *words, code=code)

    def versions(self) -> dict[str, str]:
        listed = self.run(sys.executable, "-m", "uv", "pip", "list", "--format=json", "--python", self.python).stdout
        return {package["name"].lower(): package["version"] for package in json.loads(listed)}

    def finds(self, code: int = 0) -> dict[str, dict[str, str]]:
        """What the doctor finds, by name."""
        document = json.loads(self.sparsevit("doctor", "--json", code=code).stdout)
        return {finding["name"]: finding for finding in document["findings"]}

    def answers(self) -> None:
        """Every part of the command line that needs no training; the bundled model answers as its card records."""
        assert "doctor" in self.sparsevit("--help").stdout
        assert "street-scenes" in self.sparsevit("inspect", "street-scenes").stdout
        assert "agrees" in self.sparsevit("check", "street-scenes").stdout
        self.makes_a_video()

    def makes_a_video(self) -> None:
        out = self.folder / "out.mp4"
        self.sparsevit("run", CLIP, out, "--sparsity", "0.5")
        capture = cv2.VideoCapture(str(out))
        frames = []
        while (read := capture.read())[0]:
            frames.append(read[1])
        assert [frame.shape for frame in frames] == [(240, 320, 3)] * 3
        assert all(frame.std() > 5 for frame in frames)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "env")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    without_plugins = "--config-settings=cmake.define.SPARSEVIT_PLUGINS=OFF"
    line = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", without_plugins, "-w", str(folder), str(ROOT)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.glob("*.whl"))


def requirements(wheel: Path, extra: str) -> list[Requirement]:
    """What the wheel requires on this Python, with one extra."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        lines = HeaderParser().parsestr(archive.read(name).decode()).get_all("Requires-Dist")
    found = [Requirement(line) for line in lines]
    return [r for r in found if r.marker is None or r.marker.evaluate({"extra": extra})]


def lowest(requirement: Requirement) -> str:
    (lower,) = [s.version for s in requirement.specifier if s.operator == ">="]
    return f"{requirement.name}=={lower}"


def test_a_fresh_environment_runs_the_bundled_model(environment):
    """From the source, without torch; where nvcc is, with kernels, which take a minute for each architecture."""
    environment.install(f"--config-settings=cmake.define.SPARSEVIT_CUDA_ARCHITECTURES={ARCHITECTURES}", f"{ROOT}[cpu]")
    environment.run(environment.python, "-c", PROBE)
    environment.makes_a_video()


def test_the_lowest_versions_work_together(environment, wheel):
    pins = [lowest(r) for r in requirements(wheel, "cpu")]
    assert {"numpy", "pydantic", "typer", "rich", "onnxruntime", "opencv-python-headless"} == {
        pin.partition("==")[0] for pin in pins
    }
    environment.fill(*pins, "click==8.0.0", f"{wheel}[cpu]")  # the lowest click that typer admits
    installed = environment.versions()
    for pin in pins:
        name, _, version = pin.partition("==")
        assert Version(installed[name]) == Version(version)
    environment.answers()
    # A typer of that age admits any later click.
    environment.fill("--upgrade", "click")
    assert Version(environment.versions()["click"]) >= Version("8.5")
    assert "--sparsity" in environment.sparsevit("run", "--help").stdout
    environment.sparsevit("run", CLIP, "null://", "--activity", "--frames", "1")


def test_the_newest_versions_work_together(environment, wheel):
    """Of OpenCV too, which the extras hold back for the sake of numpy 1."""
    environment.fill(wheel, "onnxruntime", "opencv-python-headless")
    installed = environment.versions()
    assert Version(installed["numpy"]).major >= 2
    assert Version(installed["opencv-python-headless"]).major >= 5
    environment.answers()


@WITH_NUMPY_1
def test_what_serves_stays_and_what_is_missing_or_broken_is_told(environment, wheel):
    environment.fill("numpy==1.26.4", wheel)
    installed = environment.versions()
    assert installed["numpy"] == "1.26.4"
    assert not {name for name in installed if name.startswith(("onnxruntime", "opencv"))}

    # Neither OpenCV nor ONNX Runtime.
    for words in (("run", CLIP, "null://"), ("inspect", "street-scenes")):
        said = environment.sparsevit(*words, code=1)
        assert "error: cv2 is not installed" in said.stderr and "sparsevit-edge[cpu]" in said.stderr
        assert "Traceback" not in said.stderr
    found = environment.finds(code=1)
    for name in ("opencv", "onnxruntime"):
        assert found[name]["status"] == "missing" and "sparsevit-edge[cpu]" in found[name]["advice"]

    # An OpenCV and an ONNX Runtime of one's own.
    environment.fill("numpy==1.26.4", "opencv-python==4.10.0.84", "onnxruntime==1.20.0")
    before = environment.versions()
    environment.install("--force-reinstall", "--no-deps", wheel)
    environment.install(wheel)
    assert environment.versions() == before
    environment.makes_a_video()

    # The extra beside them.
    environment.install(f"{wheel}[cpu]")
    after = environment.versions()
    assert {name: after[name] for name in before} == before
    assert "opencv-python-headless" in after
    environment.makes_a_video()
    assert "several OpenCV packages overwrite each other" in environment.finds()["opencv"]["advice"]

    # One of two OpenCV packages uninstalled: `import cv2` finds a folder without code.
    environment.fill("--no-deps", "opencv-python-headless==5.0.0.93")
    environment.pip("uninstall", "--yes", "opencv-python")
    environment.run(environment.python, "-c", "import cv2; assert not hasattr(cv2, 'imread')")
    out = environment.folder / "broken.mp4"
    for words in (("run", CLIP, out), ("inspect", "street-scenes")):
        said = environment.sparsevit(*words, code=1)
        assert "Reinstall it: pip uninstall opencv-python-headless, then" in said.stderr
        assert "Traceback" not in said.stderr
    assert not out.exists()
    found = environment.finds(code=1)["opencv"]
    assert found["status"] == "missing"
    assert "Reinstall it: pip uninstall opencv-python-headless, then" in found["advice"]

    # Done as told.
    environment.pip("uninstall", "--yes", "opencv-python-headless")
    environment.install(f"{wheel}[cpu]")
    assert environment.versions()["numpy"] == "1.26.4"
    environment.makes_a_video()
    assert environment.finds()["opencv"]["status"] == "ok"


@WITH_NUMPY_1
def test_no_extra_moves_a_numpy_that_serves(environment, wheel):
    """Planned only; `cpu` is installed above."""
    environment.fill("numpy==1.26.4")
    for extras in ("gpu,draw,plot,power,log", "jetson"):
        plan = environment.pip("install", "--quiet", "--dry-run", "--report", "-", f"{wheel}[{extras}]")
        names = {entry["metadata"]["name"].lower() for entry in json.loads(plan)["install"]}
        assert "sparsevit-edge" in names
        assert "numpy" not in names
        assert len({n for n in names if n.startswith("opencv")}) <= 1


def test_every_package_of_the_wheel_is_typed_and_the_page_is_in_it(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "sparsevit_runtime/sinks/web/page.html" in names
    assert not [n for n in names if n.startswith(("tests", "build_hooks"))]
