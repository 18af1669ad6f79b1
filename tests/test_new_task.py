"""A task that this project does not have, one file a package: exported, checked, run, streamed, drawn, measured."""

from __future__ import annotations

import json

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from typer.testing import CliRunner

import classification.exporter as at_export
import classification.runtime as at_runtime
import classification.training as at_training
import sparsevit_exporter.tasks
import sparsevit_runtime.tasks
import sparsevit_training.tasks
from exports import tiny_backbone
from networks import randomize
from sparsevit_apps.cli import app
from sparsevit_exporter import ExportOptions, export
from sparsevit_runtime import diagnostics, draw_result, load
from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.errors import CardError
from sparsevit_training.evaluate import evaluate
from sparsevit_training.evaluation_data import open_evaluation_data

pytestmark = pytest.mark.slow

CLASSES = (ClassCard(name="night", color=(0, 0, 255)), ClassCard(name="day", color=(255, 255, 0)))
FLOORS = ((sparsevit_runtime, at_runtime), (sparsevit_exporter, at_export), (sparsevit_training, at_training))


@pytest.fixture(scope="module")
def registered():
    with pytest.MonkeyPatch.context() as patch:
        for package, module in FLOORS:
            patch.setattr(package.tasks, "_TASKS", dict(package.tasks._TASKS))
            package.tasks.register(module.ClassificationTask)
        yield


def picture(value: int, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(-20, 20, (90, 160, 3))
    return np.clip(value + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def path(registered, tmp_path_factory):
    """A classifier of dark and bright frames, by the nearer of the means of its features."""
    network = randomize(at_export.ClassifierModel(tiny_backbone((2, 2)), len(CLASSES), 8), seed=2).eval()
    with torch.inference_mode():
        night, day = (
            network.head.squeeze(network.backbone(torch.full((1, 3, 60, 88), v))[-1]).mean((0, 2, 3))
            for v in (-1.5, 1.5)
        )
        network.head.classify.weight.copy_(torch.stack([night, day]))
        network.head.classify.bias.copy_(torch.stack([night @ night, day @ day]) / -2)
    path = tmp_path_factory.mktemp("classifier") / "weather.onnx"
    assert export(network, path, ExportOptions(60, 88), CLASSES).holds
    return path


def test_the_recorded_outputs_come_out(path):
    with load(path, threads=1) as model:
        report = diagnostics.check(model)
    assert report.agrees and {entry.output for entry in report.outputs} >= {"scores", "windows0"}


def test_another_answer_is_found(path, tmp_path):
    """The check of the new answer can fail."""
    proto = onnx.load(path)
    bias = next(weight for weight in proto.graph.initializer if weight.name == "head.classify.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32([0, 0.5]), bias.name))
    onnx.save(proto, tmp_path / "other.onnx")
    with load(path, threads=1) as model, load(tmp_path / "other.onnx", threads=1) as other:
        assert {entry.output for entry in diagnostics.check(other).outputs if not entry.agrees} == {"scores"}
        assert diagnostics.compare(model, model).agrees and not diagnostics.compare(other, model).agrees


def test_it_runs_streams_and_is_drawn(path):
    frames = [picture(value, seed) for seed, value in enumerate((220, 30, 200))]
    with load(path, threads=1) as model:
        results = list(model.stream(frames, 0.5, activity=True))
        assert [result.kind for result in results] == ["day", "night", "day"]
        assert model(frames[1], 0.5).to_dict()["score"] == results[1].score > 0.5
        assert model.task == "classification" and results[0].activity.computed_share < 1
        drawn = draw_result(frames[0], model(frames[0]))
    assert (drawn[45, -2:] == CLASSES[1].color[::-1]).all()


def test_the_commands_know_it(path, tmp_path):
    cv2.imwrite(str(tmp_path / "frame.png"), picture(30, 7))

    def sparsevit(*arguments):
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        assert done.exit_code == 0, done.output
        return done.output

    outputs = f"{tmp_path}/drawn/?format=png", tmp_path / "said.jsonl"
    sparsevit("run", tmp_path / "frame.png", *outputs, "-m", path, "-s", "0.5")
    (drawn,) = (tmp_path / "drawn").iterdir()
    assert (cv2.imread(str(drawn))[45, -2:] == CLASSES[0].color[::-1]).all()
    said = json.loads(outputs[1].read_text())
    assert (said["task"], said["kind"]) == ("classification", "night")
    assert "scores" in sparsevit("check", path)
    assert "classification" in sparsevit("inspect", path)


def test_it_is_measured(path, tmp_path):
    for i, (kind, value) in enumerate(
        [("day", 210), ("night", 40), ("night", 230)]
    ):  # the last one is labelled wrongly
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.png"), picture(value, i))
    with load(path, threads=1) as model:
        (dense,) = evaluate(model, open_evaluation_data(model, tmp_path), [0.0])
    assert sorted(dense.right) == [False, True, True]


def test_without_its_file_the_card_is_refused(path, monkeypatch):
    monkeypatch.delitem(sparsevit_runtime.tasks._TASKS, "classification")
    with pytest.raises(CardError, match="'classification', .*Upgrade"):
        load(path)
