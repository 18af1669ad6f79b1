"""Sizes that a graph takes from its inputs: the batch, and how many windows are listed.

A trace with numbers in their place is twice as fast as one in which PyTorch reasons about unknowns. The numbers are
primes that occur in no geometry. Where one is found in the finished graph, the network has worked with that size: a
reshape can infer it, and anything else needs the slower trace.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
import onnx
import torch
from onnx import numpy_helper

#: Stand for the batch and for the windows listed.
BATCH, COUNT = 10_007, 100_003
#: Name of the batch in inputs and outputs.
NAME = "batch"

#: Dimensions of a tensor at most, for what is looked at as a shape.
_LONGEST_SHAPE = 16

_fixed: ContextVar[bool] = ContextVar("fixed", default=False)


@contextlib.contextmanager
def in_numbers() -> Iterator[None]:
    """Within, a trace is given `COUNT` for every number of windows that `keep` says."""
    token = _fixed.set(True)
    try:
        yield
    finally:
        _fixed.reset(token)


def unknown_count() -> int | torch.SymInt:
    """Size of a dimension that depends on values, for the fake of an operation."""
    return COUNT if _fixed.get() else torch.library.get_ctx().new_dynamic_size()


def free(proto: onnx.ModelProto) -> bool:
    """Takes the numbers out of a graph that was traced with them, in place.

    Returns:
        Whether that was possible. If not, the graph holds for no other sizes, and is of no use.
    """
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not _is_unknown(dim.dim_value):
                continue
            if axis or dim.dim_value != BATCH:
                return False
            dim.dim_param = NAME
    if any(_has_unknown(attribute) for node in graph.node for attribute in node.attribute):
        return False
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    others = {name for node in graph.node for i, name in enumerate(node.input) if (node.op_type, i) != ("Reshape", 1)}
    for tensor in graph.initializer:
        if not _tensor_has_unknown(tensor):
            continue
        values = numpy_helper.to_array(tensor).copy()
        unknown = [i for i, size in enumerate(values) if _is_unknown(size)] if values.ndim == 1 else []
        if tensor.name not in shapes or tensor.name in others or len(unknown) != 1 or -1 in values:
            return False
        values[unknown[0]] = -1
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return True


def _has_unknown(attribute: onnx.AttributeProto) -> bool:
    numbers = any(map(_is_unknown, (attribute.i, *attribute.ints)))
    return numbers or (attribute.HasField("t") and _tensor_has_unknown(attribute.t))


def _tensor_has_unknown(tensor: onnx.TensorProto) -> bool:
    if any(map(_is_unknown, tensor.dims)):
        return True
    # More numbers than a shape has are a table, of which any may be a multiple.
    whole = tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return (
        whole and math.prod(tensor.dims) <= _LONGEST_SHAPE and any(map(_is_unknown, numpy_helper.to_array(tensor).flat))
    )


def _is_unknown(size: int | np.integer) -> bool:
    return size != 0 and (size % BATCH == 0 or size % COUNT == 0)
