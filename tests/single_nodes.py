"""Models of one node of domain `sparsevit` and its portable body, and sessions with and without the custom ops."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from sparsevit_exporter.nodes import DOMAIN, OPSET, VERSION, functions

TYPES = {
    "float32": TensorProto.FLOAT,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
}


def single_node(
    kind: str,
    attributes: Mapping[str, object],
    inputs: Mapping[str, str],
    output: str,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> bytes:
    """A model.

    Args:
        kind: name of the node.
        attributes: attributes of the node.
        inputs: types by name, in the node's order.
        output: type of the one output, ``y``.
        shapes: shapes of inputs; those left out are open.
    """
    node = helper.make_node(kind, list(inputs), ["y"], name="the/node", domain=DOMAIN, **attributes)
    declared = [helper.make_tensor_value_info(n, TYPES[t], (shapes or {}).get(n)) for n, t in inputs.items()]
    graph = helper.make_graph([node], "node", declared, [helper.make_tensor_value_info("y", TYPES[output], None)])
    return whole_model(graph)


def whole_model(graph: onnx.GraphProto) -> bytes:
    """A graph with the bodies of the nodes it has."""
    kinds = {node.op_type for node in graph.node}
    bodies = [body for body in functions() if body.name in kinds]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=bodies).SerializeToString()


def open_model(
    model: bytes | Path, library: Path | None = None, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A session on the CPU; with a library, its custom ops take the nodes' place."""
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if library is not None:
        options.register_custom_ops_library(str(library))
    given = str(model) if isinstance(model, Path) else model
    return onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])


def nodes_run(
    model: bytes | Path, feeds: Mapping[str, np.ndarray], library: Path | None, folder: Path
) -> tuple[list[np.ndarray], Counter[str]]:
    """Outputs of a run, and how often each kind of node ran, as ONNX Runtime's profiler says."""
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = open_model(model, library, options)
    outputs = session.run(None, dict(feeds))
    events = json.loads(Path(session.end_profiling()).read_text())
    kinds = (event["args"]["op_name"] for event in events if event["name"].endswith("_kernel_time"))
    return outputs, Counter(kinds)
