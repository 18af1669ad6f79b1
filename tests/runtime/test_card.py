import json

import pytest

import tiny
from sparsevit_runtime.card import CheckCard, ModelCard
from sparsevit_runtime.errors import CardError


def test_a_card_survives_json():
    card = ModelCard.model_validate(tiny.card_document(fixed=((0.5, 0.5), (0.0, 0.1, 0.2, 0.3))))
    assert ModelCard.from_json(card.to_json()) == card


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
        ({"input": {"height": 0, "width": 4, "mean": [0, 0, 0], "std": [1, 1, 1]}}, "input.height"),
        ({"surprise": 1}, "surprise"),
        ({"windows": {"window_size": 7, "depths": []}}, "windows.depths"),
        ({"classes": [{"name": "sky", "color": [1, 2]}]}, "classes.0.color"),
    ],
)
def test_refused_cards(change, message):
    text = json.dumps({**tiny.card_document(), **change})
    with pytest.raises(CardError, match=message) as error:
        ModelCard.from_json(text, origin="street.onnx")
    assert "street.onnx" in str(error.value)


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
