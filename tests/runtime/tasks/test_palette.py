import numpy as np
import pytest

import tiny
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.model import bundled_models
from sparsevit_runtime.tasks.palette import ENOUGH, class_palette, least_difference


def card_of(*colors):
    document = tiny.card_document()
    document["classes"] = [{"name": str(i), "color": list(c)} for i, c in enumerate(colors)]
    return ModelCard.model_validate(document)


def test_colours_of_the_card():
    colors = [[200, 40, 40], [30, 225, 128], [40, 60, 220]]
    palette = class_palette(card_of(*colors))
    assert palette.dtype == np.uint8 and palette.tolist() == colors
    assert least_difference(palette) >= ENOUGH


@pytest.mark.parametrize(("model", "least"), [("street-scenes", 17.5), ("road-users", 14.5)])
def test_classes_stay_apart_on_asphalt_sky_and_grass(model, least):
    """CIEDE2000 at half opacity; the card of street-scenes has 8.1, for CamVid's colours are dark and alike."""
    card = read_onnx(bundled_models()[model]).card
    assert least_difference(class_palette(card)) >= least


def test_only_what_is_too_near_gives_way():
    near = [128, 0, 128], [120, 0, 120]
    palette = class_palette(card_of([255, 255, 0], *near, [0, 128, 255]))
    assert palette[[0, 3]].tolist() == [[255, 255, 0], [0, 128, 255]] and least_difference(palette) >= ENOUGH
    assert sum(palette[1 + i].tolist() == near[i] for i in range(2)) == 1


def test_many_classes_and_one_keep_their_colours():
    many = [[i, i, i] for i in range(200)]
    assert class_palette(card_of(*many)).tolist() == many
    assert class_palette(card_of([1, 2, 3])).tolist() == [[1, 2, 3]]


def test_the_same_card_gets_the_same_colours_whatever_came_before():
    near = [[100, 0, 0], [110, 0, 0], [105, 5, 0]]
    first = class_palette(card_of(*near))
    class_palette(card_of([9, 9, 9], [10, 10, 10]))
    assert (class_palette(card_of(*near)) == first).all()


def test_distinct_colours_where_the_card_has_none():
    document = tiny.card_document()
    document["classes"] = [{"name": str(i)} for i in range(20)] + [{"name": "own", "color": [1, 2, 3]}]
    palette = class_palette(ModelCard.model_validate(document))
    assert len(np.unique(palette, axis=0)) == 21 and palette[20].tolist() == [1, 2, 3]


def test_no_classes():
    document = tiny.card_document()
    document["classes"] = []
    assert class_palette(ModelCard.model_validate(document)).shape == (0, 3)
