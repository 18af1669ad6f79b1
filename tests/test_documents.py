"""Every command of the README and the docs is run, in a folder with the files they name."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

from sparsevit_exporter import SegmentationModel, SparseViT
from sparsevit_runtime import open_sink, open_source
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


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    found = []
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "training" / "README.md"]:
        for block in blocks(document, "bash"):
            found += [line.split("  #")[0].strip() for line in block.splitlines() if line.strip()]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A user's folder: a clip, a checkpoint, a labelled dataset."""
    folder = tmp_path_factory.mktemp("user")
    with open_source("synthetic://street?size=320x240&frames=6") as source, open_sink(folder / "clip.mp4", 25) as sink:
        from sparsevit_runtime import load

        with load("street-scenes") as model:
            for frame in source:
                sink.write(model(frame.image), frame.image)
    torch.manual_seed(0)
    network = SegmentationModel(SparseViT(16, (2, 2, 2, 1), (1, 2, 4, 8)), len(STREET_CLASSES), 16)
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
    torch.save(document, folder / "checkpoint.pth")
    write_street_folder(folder / "data" / "camvid", val=2, test=2)
    write_street_folder(folder / "data" / "mine", train=4, val=2, test=2)
    write_recipe(folder / "mine.yaml")
    return folder


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
    recipe["model"].update(embed_dim=8, depths=[2, 2, 2, 2], num_heads=[1, 1, 2, 2], head_channels=8)
    recipe["crops"] = [{"height": 84, "width": 112, "batch": 2}]
    recipe["schedule"] = {"steps": 4, "warmup_steps": 1}
    recipe["monitor"]["every_steps"] = 2
    path.write_text(yaml.safe_dump(recipe))


def environment() -> dict[str, str]:
    """The checkout's packages and this interpreter's scripts first."""
    packages = [str(ROOT / part) for part in ("street", "runtime", "exporter", "training", "apps")]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(packages)}


def run(command: str, folder: Path) -> None:
    words = shlex.split(command)
    if words[0] == "sparsevit":
        words[:1] = [sys.executable, "-m", "sparsevit_apps.cli"]
    elif words[0] == "python":
        words[0] = sys.executable
    elif words[0] == "make":
        words += [f"OUT={folder / 'out'}", "FRAMES=4", "SOURCE=synthetic://street?size=320x240&frames=4"]
        folder = ROOT
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("command", [c for c in commands() if not INSTALLS.match(c) and c not in ELSEWHERE])
def test_command(command, workplace):
    if "SOURCE SINK" in command:
        command = command.replace("SOURCE SINK...", "clip.mp4 usage.mp4")
    # The network of write_recipe is so small that pruning may save nothing on a busy machine: any plan fits.
    command = command.replace("--budget-ratio 0.7", "--budget-ratio 9")
    run(command, workplace)


def test_demo_leaves_what_the_readme_promises(workplace):
    """After the commands above, `make demo` among them."""
    for name in ("annotated.mp4", "activity.mp4"):
        capture = cv2.VideoCapture(str(workplace / "out" / name))
        ok, frame = capture.read()
        assert ok and frame.std() > 5, name
    latency = json.loads((workplace / "out" / "latency.json").read_text())
    assert len(latency["entries"]) == 5


def test_python_blocks(workplace, monkeypatch):
    """The Python of README, docs/measure.md and docs/run.md runs as printed."""
    shutil.copy(workplace / "clip.mp4", workplace / "clip_copy.mp4")
    monkeypatch.chdir(workplace)
    frame = cv2.imread(str(workplace / "data" / "camvid" / "test" / "images" / "0.png"))
    for document in (ROOT / "README.md", ROOT / "docs" / "measure.md", ROOT / "docs" / "run.md"):
        for block in blocks(document, "python"):
            exec(compile(block, str(document), "exec"), {"frame": frame})
    labels = cv2.imread(str(workplace / "labels_0005.png"), cv2.IMREAD_UNCHANGED)
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
