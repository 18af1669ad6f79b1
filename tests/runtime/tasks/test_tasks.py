"""The registry: a task of one's own is one file on this floor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tiny
from sparsevit_runtime import draw_result, load, tasks
from sparsevit_runtime.card import CARD_KEY, ModelCard
from sparsevit_runtime.contract import BATCH, TensorSpec
from sparsevit_runtime.errors import CardError
from sparsevit_runtime.images.letterbox import Letterbox
from sparsevit_runtime.tasks.results import Legend, Result


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Weather(Result):
    """One class for a frame."""

    kind: str
    brightness: float

    def to_dict(self) -> dict[str, Any]:
        return {**self._head("weather"), "kind": self.kind}

    def save(self, path: str | Path) -> None:
        Path(path).write_text(self.kind)

    def draw_answer(self, image: np.ndarray) -> np.ndarray:
        return cv2.rectangle(image.copy(), (0, 0), (5, 5), (255, 255, 255), -1)

    def legend(self) -> Legend:
        return [(self.kind, (255, 255, 0))]


class WeatherTask(tasks.Task):
    name = "weather"
    result_type = Weather

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec.of("brightness", np.float32, BATCH, 1),)

    def decode(self, answers: Mapping[str, np.ndarray], letterbox: Letterbox, threshold: float) -> dict[str, Any]:
        brightness = float(answers["brightness"][0])
        return {"kind": self.card.class_names[int(brightness > 127)], "brightness": brightness}


@pytest.fixture
def weather(monkeypatch):
    monkeypatch.setattr(tasks, "_TASKS", dict(tasks._TASKS))
    tasks.register(WeatherTask)


@pytest.fixture
def model(tmp_path) -> Path:
    """A graph that tells the mean of its last map, and sorts its windows as the tiny backbone does."""
    proto = onnx.load(tiny.write_model(tmp_path / "backbone.onnx", task="backbone"))
    graph = proto.graph
    graph.node.append(helper.make_node("ReduceMean", ["stage1", "axes"], ["mean"], keepdims=0))
    graph.node.append(helper.make_node("Unsqueeze", ["mean", "last"], ["brightness"]))
    graph.initializer.append(helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]))
    graph.initializer.append(helper.make_tensor("last", TensorProto.INT64, [1], [1]))
    kept = [output for output in graph.output if "windows" in output.name]
    del graph.output[:]
    graph.output.extend([helper.make_tensor_value_info("brightness", TensorProto.FLOAT, ["batch", 1]), *kept])
    document = {**tiny.card_document(), "task": "weather", "classes": [{"name": "night"}, {"name": "day"}]}
    helper.set_model_props(proto, {CARD_KEY: ModelCard.model_validate(document).to_json()})
    path = tmp_path / "weather.onnx"
    onnx.save(proto, path)
    return path


def test_a_task_of_ones_own_runs_streams_and_is_drawn(weather, model):
    frames = [np.full((64, 96, 3), value, np.uint8) for value in (200, 20, 180)]
    with load(model, threads=1) as opened:
        results = list(opened.stream(frames, 0.5, activity=True))
        assert [result.kind for result in results] == ["day", "night", "day"]
        assert opened(frames[0]).to_dict()["task"] == "weather" == opened.task
    drawn = draw_result(frames[0], results[0])
    assert (drawn[:3, :3] != frames[0][:3, :3]).any() and results[0].activity.computed_share == 0.5


def test_a_task_that_nobody_registered_is_refused(model):
    with pytest.raises(CardError, match="'weather', .*does not know; it knows segmentation, .*Upgrade"):
        load(model)


def test_the_registry_knows_what_comes_with_it():
    assert tasks.known_tasks()[:3] == ("segmentation", "detection", "backbone")
