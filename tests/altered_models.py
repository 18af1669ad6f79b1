"""Copies of exported models that compute something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from sparsevit_runtime.card import CARD_KEY, ModelCard


def with_weight(model: Path, output: Path, weight: str, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """A copy of an exported model with one of its weights, which has the trained network's name, changed."""
    proto = onnx.load(model)
    (tensor,) = (w for w in proto.graph.initializer if w.name == weight)
    value = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(change(value), value.dtype), tensor.name))
    onnx.save(proto, output)
    return output


def with_not_a_number(model: Path, output: Path, tensor: str, position: int) -> Path:
    """A copy of a model that answers NaN at one place of one of its outputs, and is right everywhere else."""
    (record,) = (o for o in card_of(model).checks[0].outputs if o.name == tensor)
    addend = np.zeros(record.shape, np.float32)
    addend.reshape(-1)[position] = np.nan
    proto = onnx.load(model)
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = ["before" if name == tensor else name for name in names]
    proto.graph.initializer.append(numpy_helper.from_array(addend, "addend"))
    proto.graph.node.append(helper.make_node("Add", ["before", "addend"], [tensor]))
    onnx.save(proto, output)
    return output


def card_of(model: Path) -> ModelCard:
    (text,) = (entry.value for entry in onnx.load(model).metadata_props if entry.key == CARD_KEY)
    return ModelCard.from_json(text)
