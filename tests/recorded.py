"""Tiny models whose card records what they answer, or something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tiny
from sparsevit_runtime.card import CheckCard, ModelCard
from sparsevit_runtime.contract import feeds_of
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.model import load


def write_model(
    folder: Path, error: float = 0.0, changes: dict | None = None, instead: dict | None = None, **properties: object
) -> Path:
    """A tiny model whose card records its outputs, shifted by `error` and with `changes` to each record.

    The file written answers as `instead` says, where given, and not as recorded.
    """
    plain = tiny.write_model(folder / "plain.onnx", **properties)
    with load(plain, threads=1) as model:
        names = {"segmentation": ("labels",), "detection": ("boxes", "scores", "classes")}[model.task]
        keep = None if model.card.windows.fixed else (24, 6, 6)
        image = probe_image(*model.input_hw, seed=3)[None]
        if model.card.input.layout == "normalized":
            rgb = image[..., ::-1].transpose(0, 3, 1, 2) - np.array(model.card.input.mean).reshape(3, 1, 1)
            image = (rgb / np.array(model.card.input.std).reshape(3, 1, 1)).astype(np.float32)
        feeds = feeds_of(image, None if keep is None else np.array(keep))
        if properties.get("matrix"):
            feeds[tiny.MATRIX] = np.zeros((1, 3, 3), np.float32)
        values = model.backend.run(feeds, names)
        card = model.card
    outputs = []
    for name, value in values.items():
        positions = tuple(range(0, value.size, 3))
        record = {
            "name": name,
            "shape": value.shape,
            "positions": positions,
            "values": [float(value.flatten()[p]) + error for p in positions],
            "atol": 1e-3,
            "rtol": 0.0,
            "min_agreement": 0.9,
        }
        outputs.append(CheckCard.Output.model_validate(record | (changes or {})))
    check = CheckCard(seed=3, keep=keep, outputs=tuple(outputs))
    text = ModelCard.model_validate(card.model_dump() | {"checks": (check,)}).to_json()
    return tiny.write_model(folder / "checked.onnx", card=text, **(properties | (instead or {})))
