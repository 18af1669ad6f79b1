"""A model file whose weights lie in another file, as the onnx package writes large models."""

from __future__ import annotations

from pathlib import Path

import onnx


def split_weights(source: Path, target: Path, location: str = "weights.bin") -> Path:
    """Writes a model file again with its larger weights beside it, in `location`; returns that file."""
    model = onnx.load(source)
    onnx.save(model, target, save_as_external_data=True, location=location, size_threshold=256)
    weights = target.parent / location
    assert weights.stat().st_size > 0
    return weights


def change_weights(weights: Path) -> None:
    """Flips the lowest bit of the last weight."""
    data = bytearray(weights.read_bytes())
    data[-4] ^= 1
    weights.write_bytes(data)


def point_to(model: Path, location: str, target: Path) -> None:
    """Writes the model to `target` with its weights said to lie in `location`."""
    proto = onnx.load(model, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(proto.SerializeToString())
