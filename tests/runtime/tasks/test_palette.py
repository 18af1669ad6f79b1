import numpy as np

import tiny
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.tasks.palette import class_palette


def test_colours_of_the_card():
    card = ModelCard.model_validate(tiny.card_document())
    palette = class_palette(card)
    assert palette.dtype == np.uint8 and palette[1].tolist() == [30, 225, 128]


def test_distinct_colours_where_the_card_has_none():
    document = tiny.card_document()
    document["classes"] = [{"name": str(i)} for i in range(20)] + [{"name": "own", "color": [1, 2, 3]}]
    palette = class_palette(ModelCard.model_validate(document))
    assert len(np.unique(palette, axis=0)) == 21 and palette[20].tolist() == [1, 2, 3]


def test_no_classes():
    document = tiny.card_document()
    document["classes"] = []
    assert class_palette(ModelCard.model_validate(document)).shape == (0, 3)
