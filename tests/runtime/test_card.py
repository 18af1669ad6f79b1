import json

import pytest

import tiny
from sparsevit_runtime.card import CheckCard, ModelCard
from sparsevit_runtime.errors import CardError
from sparsevit_runtime.model import load
from sparsevit_runtime.tasks import task_of


def recorded(keep=(24, 6, 6), positions=(0,), values=(1.0,), name="labels") -> dict:
    """A record of one output."""
    output = {"name": name, "shape": [1, 4], "positions": positions, "values": values}
    return {"seed": 0, "keep": keep, "outputs": [{**output, "atol": 0, "rtol": 0, "min_agreement": 1}]}


def test_a_card_survives_json():
    card = ModelCard.model_validate(tiny.card_document(fixed=((0.5, 0.5), (0.0, 0.1, 0.2, 0.3))))
    assert ModelCard.from_json(card.to_json()) == card


def test_earlier_versions_read_a_card_of_letterboxed_frames_and_refuse_one_of_stretched_ones():
    """A field that they do not know is an error to them."""
    stretched = ModelCard.model_validate(tiny.card_document(resize="stretch"))
    assert ModelCard.from_json(stretched.to_json()) == stretched
    assert json.loads(stretched.to_json())["input"]["resize"] == "stretch"
    assert "resize" not in json.loads(ModelCard.model_validate(tiny.card_document()).to_json())["input"]


def test_earlier_versions_read_a_card_that_says_nothing_of_objects():
    document = {**tiny.card_document(task="detection"), "objects": {"threshold": 0.1, "nms_iou": 0.6}}
    said = ModelCard.model_validate(document)
    assert ModelCard.from_json(said.to_json()) == said
    assert json.loads(said.to_json())["objects"] == document["objects"]
    assert "objects" not in json.loads(ModelCard.model_validate({**document, "objects": {}}).to_json())


def test_what_the_card_tells():
    card = ModelCard.model_validate(tiny.card_document())
    assert card.class_names == tiny.CLASSES
    assert [s.windows for s in card.stages] == [24, 6]
    assert [s.depth for s in card.stages] == list(tiny.DEPTHS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "schema 2, this version reads up to 1; upgrade"),
        ({"schema_version": 0}, "schema_version"),
        ({"task": "Kara oke"}, "task"),
        ({"precision": "fp4"}, "precision"),
        ({"input.resize": "crop"}, "input.resize"),
        ({"input": {"height": 0, "width": 4, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "input.height"),
        ({"surprise": 1}, "surprise"),
        ({"objects": {"threshold": 1.5}}, "objects.threshold"),
        ({"objects": {"nms_iou": 0}}, "objects.nms_iou"),
        ({"windows": {"window_size": 7, "depths": []}}, "windows.depths"),
        ({"classes": [{"name": "sky", "color": [1, 2]}]}, "classes.0.color"),
        ({"classes": [{"name": "sky", "color": [1, 2, 999]}]}, "classes.0.color.2"),
        ({"classes": [{"name": "x" * 257}]}, "classes.0.name"),
        ({"name": "\ud800"}, "name"),
        ({"windows.window_size": 0}, "windows.window_size"),
        ({"windows.window_size": 257}, "windows.window_size"),
        ({"windows.depths": [2, 2, 2, 200000000]}, "windows.depths.3"),
        ({"windows.depths": [2, -2]}, "windows.depths.1"),
        ({"windows.depths": [2] * 9}, "windows.depths"),
        ({"windows.fixed": [[0.5, 0.5], [0.5, 0.5]]}, "windows.*fixed has .2, 2. blocks per stage, depths are .2, 4."),
        ({"windows.fixed": [[0.5, 0.5], [0.5, 0.5, 0.4, 0.4]]}, "windows.*even blocks of stage 1 decrease"),
        ({"windows.fixed": [[0.5, 2], [0, 0, 0, 0]]}, "windows.*from 0 to 1"),
        ({"input.height": 65537}, "input.height"),
        ({"input.height": 65536, "input.width": 65536}, "input.*height 65536 x width 65536, at most"),
        ({"input.std": [1, 0, 1]}, "input.std.1"),
        ({"input.std": [1, 1, -1]}, "input.std.2"),
        ({"input.std": [1, 1, float("nan")]}, "input.std.2"),
        ({"input.std": [1, 1e-300, 1]}, "input.std.1"),
        ({"input.mean": [1e300, 0, 0]}, "input.mean.0"),
        ({"input.mean": [float("inf"), 0, 0]}, "input.mean.0"),
        ({"input.mean": [10**400, 0, 0]}, "input.mean.0"),
        ({"architecture.embed_dim": 0}, "architecture.embed_dim"),
        ({"architecture.num_heads": [1, 0]}, "architecture.num_heads.1"),
        ({"architecture.parameters": -1}, "architecture.parameters"),
        ({"checks": [{"seed": -1, "keep": None, "outputs": []}]}, "checks.0.seed"),
        ({"checks": [{"seed": 2**32, "keep": None, "outputs": []}]}, "checks.0.seed"),
        ({"checks": [recorded(positions=[4])]}, "checks.0.outputs.0.*position 4 in an array of shape .1, 4."),
        ({"checks": [recorded(positions=[-1])]}, "checks.0.outputs.0.positions.0"),
        ({"checks": [recorded(values=[float("nan")])]}, "checks.0.outputs.0.values.0"),
        ({"metrics": [{"name": "a", "dataset": "b", "ratio": 2, "value": 1}]}, "metrics.0.ratio"),
        ({"inputs": [{"name": "a", "shape": [65536, 65536]}]}, "inputs.0.*4294967296 elements"),
        ({"inputs": [{"name": "a", "shape": []}, {"name": "a", "shape": [1]}]}, "inputs: two of one name"),
    ],
)
def test_refused_cards(change, message):
    document = tiny.card_document()
    for key, value in change.items():
        part, _, field = key.partition(".")
        document[part] = {**document[part], field: value} if field else value
    with pytest.raises(CardError, match=message) as error:
        ModelCard.from_json(json.dumps(document), origin="street.onnx")
    assert "street.onnx" in str(error.value)


def test_as_many_classes_as_labels_tell_apart():
    document = tiny.card_document()
    document["classes"] = [{"name": str(i)} for i in range(256)]
    task_of(ModelCard.from_json(json.dumps(document)))
    document["classes"] += [{"name": "one more"}] * 44
    message = "tiny is invalid: classes: 300 of them, a model for segmentation has at most 256"
    with pytest.raises(CardError, match=message):
        task_of(ModelCard.from_json(json.dumps(document)))


@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_a_model_without_classes_has_no_answers(task):
    """Every label would be nobody's, and every box of a class that is not there."""
    card = ModelCard.from_json(json.dumps({**tiny.card_document(task=task), "classes": []}))
    with pytest.raises(CardError, match=f"classes: none, a model for {task} has at least 1"):
        task_of(card)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"keep": None}, "checks.0.keep is None, the plan is an input"),
        ({"keep": [1]}, "checks.0.keep: keep must be 3 integers"),
        ({"keep": [25, 6, 6]}, "checks.0.keep: keep of stage 0 .* 0 to 24 windows"),
        ({"name": "boxes"}, "checks.0.outputs: 'boxes' is none of labels, windows0"),
    ],
)
def test_records_of_another_graph_are_refused(tmp_path, record, message):
    document = tiny.card_document()
    document["checks"] = [recorded(**record)]
    with pytest.raises(CardError, match=f"the card of .*m.onnx is invalid: {message}"):
        load(tiny.write_model(tmp_path / "m.onnx", card=json.dumps(document)))


@pytest.mark.parametrize("text", ["[" * 3000, '{"a":' * 3000, "9" * 5000, '{"name": 1e', "\x00"])
def test_text_that_is_hard_to_read(text):
    with pytest.raises(CardError, match="the model card of the model is (not JSON|invalid)"):
        ModelCard.from_json(text)


@pytest.mark.parametrize("text", ["", "{", "not a card"])
def test_text_that_is_not_json(text):
    with pytest.raises(CardError, match="not JSON"):
        ModelCard.from_json(text)


@pytest.mark.parametrize("text", ["[]", "1", "null", "{}"])
def test_json_that_is_not_a_card(text):
    with pytest.raises(CardError, match="invalid"):
        ModelCard.from_json(text)


def test_a_recorded_output_needs_a_value_per_position():
    record = {"name": "labels", "shape": [1, 4], "positions": [0, 1], "atol": 0, "rtol": 0, "min_agreement": 1}
    assert CheckCard.Output(**record, values=[1, 2]).values == (1, 2)
    with pytest.raises(ValueError, match="2 positions but 1 values"):
        CheckCard.Output(**record, values=[1])
