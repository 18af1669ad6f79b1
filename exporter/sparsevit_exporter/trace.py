"""From a deployed module to an ONNX graph with the window nodes in it."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Sequence, Set

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxscript import ir
from onnxscript.optimizer import optimize_ir
from torch._subclasses.fake_tensor import FakeTensorMode

from sparsevit_runtime.errors import ExportError
from sparsevit_runtime.windows.geometry import StageGeometry
from sparsevit_runtime.windows.plan import dense_keep

from . import ends_bodies, nodes, ops, unknown_sizes
from .deploy import DeployedModel
from .naming import name_nodes
from .weights import EXACT, HALF, name_weights

#: Name of the deployed head within the module that is traced.
_HEAD = "answers"
#: Initialisers below this many elements stay in float32 when weights are stored in half precision.
_SMALL = 256


def trace(model: DeployedModel, stages: Sequence[StageGeometry]) -> onnx.ModelProto:
    """Traces the module with a dynamic batch.

    Args:
        model: module in eval mode; its backbone says whether `keep` is an input and how the image is laid out.
        stages: window geometry of the input size.

    Returns:
        A checked model with all outputs of `model.forward`, the window functions included.

    Raises:
        ExportError: the tracer or the checker refused the graph.
    """
    proto = _traced(model, stages, in_numbers=True)
    if not unknown_sizes.free(proto):
        proto = _traced(model, stages, in_numbers=False)
    functions = nodes.functions_of(proto.graph) + ends_bodies.functions_of(proto.graph)
    name_nodes(proto.graph)
    _strip(proto)
    name_weights(proto, model, model.trained_backbone)
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("", nodes.OPSET))
    if functions:
        proto.opset_import.append(helper.make_opsetid(nodes.DOMAIN, nodes.VERSION))
        proto.functions.extend(functions)
    onnx.checker.check_model(proto)
    return proto


def _traced(model: DeployedModel, stages: Sequence[StageGeometry], in_numbers: bool) -> onnx.ModelProto:
    """The graph as PyTorch writes it; with numbers for sizes that are not known, see `unknown_sizes`, or with names."""
    height, width = model.input_hw
    batch = unknown_sizes.BATCH if in_numbers else 2
    # Without memory: the trace looks at nothing but shapes.
    with FakeTensorMode() if in_numbers else contextlib.nullcontext():
        image = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
        if not model.backbone.embed.camera:
            image = torch.zeros(batch, 3, height, width)
        inputs = (image,) if model.backbone.plan is not None else (image, torch.tensor(dense_keep(stages)))
    names = ["image", "keep"][: len(inputs)]
    shapes = {"image": {0: torch.export.Dim(unknown_sizes.NAME)}, "keep": None}
    # Filled while it is traced and read at the end: a run for the names alone takes the CPU an hour in half precision.
    outputs: list[str] = []
    noted = model.register_forward_hook(lambda _model, _inputs, answers: outputs.__setitem__(slice(None), answers))
    try:
        with torch.no_grad(), quiet(), unknown_sizes.in_numbers() if in_numbers else contextlib.nullcontext():
            program = torch.onnx.export(
                model,
                inputs,
                dynamo=True,
                opset_version=nodes.OPSET,
                input_names=names,
                output_names=outputs,
                dynamic_shapes=None if in_numbers else {name: shapes[name] for name in names},
                custom_translation_table=ops.onnx_translations(),
                verbose=False,
                optimize=False,
            )
        assert program is not None  # as it is only without `dynamo`
        with quiet():
            _simplify(program.model, {name for name, _ in model.answers.named_parameters(prefix=_HEAD)})
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"the network cannot be traced: {error}") from error
    finally:
        noted.remove()
    return program.model_proto


def _simplify(graph: ir.Model, weights: Set[str]) -> None:
    """As PyTorch simplifies a graph, in place, but nothing is made of the head's weights: the file has each of them
    under its own name (`weights`), so that it can be read back. Runtimes fold what a graph makes of them."""

    def folds(node: ir.Node) -> bool | None:
        return False if any(x is not None and x.name in weights for x in node.inputs) else None

    optimize_ir(graph, should_fold=folds)


def without_outputs(proto: onnx.ModelProto, keep: Sequence[str]) -> onnx.ModelProto:
    """A copy whose graph has only the outputs in `keep`, and only the nodes and weights these need.

    A tensor that is no output any more is named like any other, by the node that makes it (`naming`).
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    outputs = [o for o in graph.output if o.name in keep]
    needed = {o.name for o in outputs}
    nodes_kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes_kept.append(node)
            needed.update(node.input)
    nodes_kept.reverse()
    weights = [w for w in graph.initializer if w.name in needed]
    for field, kept in ((graph.output, outputs), (graph.node, nodes_kept), (graph.initializer, weights)):
        kept = list(kept)
        del field[:]
        field.extend(kept)
    dropped = {o.name for o in proto.graph.output}.difference(keep)
    places = {name: f"{node.name}:{i}" for node in graph.node for i, name in enumerate(node.output) if name in dropped}
    names = {name: place.removesuffix(":0") for name, place in places.items()}
    for node in graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    return copy


def store_weights_in_half(proto: onnx.ModelProto) -> None:
    """Stores large float32 weights as float16 followed by a cast, in place.

    The graph still computes in float32; runtimes fold the casts when they open the file. A cast has the name of the
    first node that reads the weight before its own.
    """
    graph = proto.graph
    places = {name: f"{node.name}/Cast_{i}" for node in reversed(graph.node) for i, name in enumerate(node.input)}
    casts = []
    for tensor in graph.initializer:
        name = tensor.name
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < _SMALL or name.startswith(EXACT):
            continue
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}{HALF}")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], places.get(name), to=TensorProto.FLOAT))
    for position, node in enumerate(casts):
        graph.node.insert(position, node)


def _strip(proto: onnx.ModelProto) -> None:
    """Removes the tracer's annotations: stack traces with local paths, and intermediate types that would go stale."""
    del proto.metadata_props[:]
    proto.doc_string = ""
    graph = proto.graph
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.doc_string = ""
    graph.name = "sparsevit"
    for item in [*graph.node, *graph.input, *graph.output, *graph.initializer]:
        del item.metadata_props[:]
        item.doc_string = ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the tracer's remarks about optional packages, its own deprecations, and what it leaves unfolded."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
