"""Every command of the README and the docs is run, in a folder with the files they name.

Those of the README run as a user runs them: programs of their own, with the bundled models. Those of the docs run
within this process and with a small model, so that each costs what it does itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from networks import randomize
from sparsevit_apps.cli import main
from sparsevit_exporter import SegmentationModel, SparseViT
from sparsevit_runtime import load, open_sink, open_source
from sparsevit_runtime.model import bundled_models
from sparsevit_street import STREET_CLASSES, StreetScene

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
#: Commands that set up or test the whole project: they are run as such, not from within a test.
ELSEWHERE = {
    "make test": "is what runs this test",
    "make figures": "needs every measured file; `tables.py --check` is run below",
}
#: Installing is tested in tests/test_install.py.
INSTALLS = re.compile(r"^pip install ")
#: For a profile that does not say how many.
ROUNDS = ["--iterations", "3", "--warm-up", "1"]
EXPORT = "sparsevit export checkpoint.pth -o model.onnx --size 420x560"


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands(*documents: Path) -> list[str]:
    found = []
    for document in documents:
        for block in blocks(document, "bash"):
            found += [line.split("  #")[0].strip() for line in block.splitlines() if line.strip()]
    return [c for c in dict.fromkeys(found) if not INSTALLS.match(c) and c not in ELSEWHERE]


README = commands(ROOT / "README.md")
DOCS = commands(*sorted((ROOT / "docs").glob("*.md")), ROOT / "training" / "README.md")


def write_clip(path: Path, frames: int) -> None:
    uri = f"synthetic://street?size=320x240&frames={frames}"
    with open_source(uri) as source, open_sink(path, 25) as sink, load("street-scenes") as model:
        for frame in source:
            sink.write(model(frame.image), frame.image)


def write_checkpoint(path: Path) -> None:
    """A small network for the street's classes, untrained."""
    network = randomize(SegmentationModel(SparseViT(16, (2, 1, 1, 1), (1, 2, 4, 8)), len(STREET_CLASSES), 16), seed=0)
    document = {
        "format": "sparsevit-edge",
        "version": 1,
        "task": "segmentation",
        "config": {"backbone": network.backbone.config, "head": network.head_config},
        "classes": [{"name": name, "color": list(color)} for name, color in STREET_CLASSES],
        "state_dict": network.state_dict(),
        "input": {"height": 420, "width": 560, "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
        "training": {},
        "metrics": [],
    }
    torch.save(document, path)


def write_street_folder(data: Path, **splits: int) -> None:
    """Rendered streets in CamVid layout, images per split."""
    lines = [f"{i} {name} {r} {g} {b}" for i, (name, (r, g, b)) in enumerate(STREET_CLASSES)]
    data.mkdir(parents=True)
    (data / "classes.txt").write_text("\n".join([*lines, "11 Unlabelled 0 0 0"]) + "\n")
    for split, count in splits.items():
        for part in ("images", "labels"):
            (data / split / part).mkdir(parents=True)
        for i in range(count):
            image, truth = StreetScene((160, 120), seed=i).render(0)
            cv2.imwrite(str(data / split / "images" / f"{i}.png"), image)
            cv2.imwrite(str(data / split / "labels" / f"{i}.png"), truth.label_map)


def write_recipe(path: Path) -> None:
    """The recipe of docs/your-dataset.md, with the network and the number of steps of a test."""
    recipe = yaml.safe_load(blocks(ROOT / "docs" / "your-dataset.md", "yaml")[0])
    assert recipe["model"].pop("start") in bundled_models()  # of its own architecture; tested with the checkpoints
    recipe["model"].update(embed_dim=8, depths=[2, 1, 1, 1], num_heads=[1, 1, 2, 2], head_channels=8)
    recipe["crops"] = [{"height": 84, "width": 112, "batch": 2}]
    recipe["schedule"] = {"steps": 4, "warmup_steps": 1}
    recipe["monitor"]["every_steps"] = 2
    path.write_text(yaml.safe_dump(recipe))


@pytest.fixture(scope="module")
def readme_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a clip and a checkpoint."""
    folder = tmp_path_factory.mktemp("readme")
    write_clip(folder / "clip.mp4", frames=6)
    write_checkpoint(folder / "checkpoint.pth")
    return folder


@pytest.fixture(scope="module")
def docs_place(tmp_path_factory: pytest.TempPathFactory, readme_place: Path) -> Path:
    """A user's folder: a clip, a checkpoint, labelled datasets, a recipe; beside them a small model to be bundled."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("clip.mp4", "checkpoint.pth"):
        shutil.copy(readme_place / name, folder)
    if not (readme_place / "model.onnx").exists():
        run_program(EXPORT, readme_place)
    (folder / "bundled").mkdir()
    shutil.copy(readme_place / "model.onnx", folder / "bundled" / "street-scenes.onnx")
    write_street_folder(folder / "data" / "camvid", val=2, test=2)
    write_street_folder(folder / "data" / "mine", train=4, val=2, test=2)
    write_recipe(folder / "mine.yaml")
    return folder


def words_of(command: str) -> list[str]:
    words = shlex.split(command)
    short = words[:2] != ["sparsevit", "profile"] or {"--iterations", "--soak"}.intersection(words)
    return words if short else words + ROUNDS


def environment() -> dict[str, str]:
    """The checkout's packages and this interpreter's scripts first."""
    packages = [str(ROOT / part) for part in ("street", "runtime", "exporter", "training", "apps")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(packages)}


def run_program(command: str, folder: Path) -> None:
    words = words_of(command)
    if words[0] == "sparsevit":
        words[:1] = [sys.executable, "-m", "sparsevit_apps.cli"]
    elif words[0] == "make":
        short = ["FRAMES=4", "SOURCE=synthetic://street?size=320x240&frames=4", "ROUNDS=3"]
        words += [f"OUT={folder / 'out'}", *short]
        folder = ROOT
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def here(docs_place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The docs' folder as the working directory, its model as the bundled one; signals are handled as before later."""
    monkeypatch.chdir(docs_place)
    monkeypatch.setattr("sparsevit_runtime.bundled._FOLDER", docs_place / "bundled")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield docs_place
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("command", README)
def test_command_of_the_readme(command, readme_place):
    run_program(command, readme_place)


@pytest.mark.parametrize("command", [c for c in DOCS if c not in README])
def test_command_of_the_docs(command, here, monkeypatch):
    command = command.replace("SOURCE SINK...", "clip.mp4 usage.mp4")
    # So small a network may save nothing by pruning on a busy machine: any plan fits, and its times are all the same.
    command = command.replace("--budget-ratio 0.7", "--budget-ratio 9")
    command = command.replace("--evaluations 6", "--evaluations 6 --rounds 1")
    monkeypatch.setattr(sys, "argv", words_of(command))
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (None, 0)


def test_demo_leaves_what_the_readme_promises(readme_place):
    """After the commands above, `make demo` among them."""
    for name in ("annotated.mp4", "activity.mp4"):
        capture = cv2.VideoCapture(str(readme_place / "out" / name))
        ok, frame = capture.read()
        assert ok and frame.std() > 5, name
    latency = json.loads((readme_place / "out" / "latency.json").read_text())
    assert len(latency["entries"]) == 5


def test_python_blocks(readme_place, tmp_path, monkeypatch):
    """The Python of README, docs/measure.md and docs/run.md runs as printed."""
    shutil.copy(readme_place / "clip.mp4", tmp_path)
    monkeypatch.chdir(tmp_path)
    frame, _ = StreetScene((160, 120), seed=0).render(0)
    for document in (ROOT / "README.md", ROOT / "docs" / "measure.md", ROOT / "docs" / "run.md"):
        for block in blocks(document, "python"):
            exec(compile(block, str(document), "exec"), {"frame": frame})
    labels = cv2.imread(str(tmp_path / "labels_0005.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (240, 320) and labels.dtype == np.uint8


def test_tables_say_what_the_files_say(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for page in tables.PAGES:
        assert page.read_text() == tables.rewrite(page.read_text()), page.name


def test_links_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
