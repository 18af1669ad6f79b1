"""A model repository for a Triton server: a model file that Triton can batch, and its configuration."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.contract import IMAGE, KEEP
from sparsevit_runtime.errors import ExportError, PlanError
from sparsevit_runtime.files import write_atomic
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.tensorrt.engine_card import read_sidecar
from sparsevit_runtime.triton import CARD_PARAMETER, DIGEST_PARAMETER
from sparsevit_runtime.windows.level import Level
from sparsevit_runtime.windows.plan import PlanLike

#: Names that Triton takes for a model; it is a folder's name, too.
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,127}")
_TYPES = {
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.BOOL: "TYPE_BOOL",
}
#: What the graph's own nodes read in place of the input.
_KEPT = "keep/kept"


@dataclass(frozen=True)
class TritonOptions:
    """How a server runs a model.

    Attributes:
        name: name of the model on the server; None for that of its card, or of the file.
        version: number of the version's folder.
        sparsity: level of requests that bring no `keep`; None for all windows.
        max_batch: most frames of a run.
        delay_us: longest wait of a request for others to be joined with, microseconds.
        instances: copies of the model that run at the same time, on each GPU or in all.
        kind: ``cpu``, ``gpu``, or ``auto`` for what the server has.
        threads: threads of each instance on a CPU; None for ONNX Runtime's own choice.
    """

    name: str | None = None
    version: int = 1
    sparsity: PlanLike | None = None
    max_batch: int = 8
    delay_us: int = 1000
    instances: int = 1
    kind: str = "auto"
    threads: int | None = None


def export_triton(model: Path, repository: Path, options: TritonOptions | None = None) -> Path:
    """Writes ``NAME/config.pbtxt`` and ``NAME/1/model.onnx`` into a repository.

    The model file is the portable one, run by Triton's ONNX Runtime backend, but for `keep`: Triton batches what has a
    row for each frame. It takes (B, pairs or more) int64, of which the first `pairs` count, and has a default, so that
    it is an optional input; see `sparsevit_runtime.triton.keep_rows`.

    Args:
        model: exported file.
        repository: folder of the server's models; made where it is not there.
        options: how the server runs it.

    Returns:
        The model's folder.

    Raises:
        ExportError: a name that Triton does not take, or a graph without a batch.
        PlanError: the sparsity does not fit the model.
        ModelError: the file cannot be read.
        SinkError: the repository cannot be written.
    """
    options = options or TritonOptions()
    file = read_onnx(model)
    card = file.card
    graph = onnx.load(str(model))
    level = Level.resolve(card, options.sparsity)
    if level.keep is not None:
        _batch_keep(graph.graph, level.keep)
    tensors = [*_inputs(graph.graph), *graph.graph.output]
    if any(not each.type.tensor_type.shape.dim[0].dim_param for each in tensors):
        raise ExportError(f"{model} has no batch that a server could fill; export it again")
    initial = {each.name for each in graph.graph.initializer}
    optional = [value for value in graph.graph.input if value.name in initial and value.name == KEEP]
    fields = [
        'backend: "onnxruntime"',
        f"max_batch_size: {options.max_batch}",
        *(_tensor("input", value) for value in _inputs(graph.graph)),
        *(_tensor("input", value, optional=True) for value in optional),
        *(_tensor("output", value) for value in graph.graph.output),
        f"dynamic_batching {{ max_queue_delay_microseconds: {options.delay_us} }}",
        _instances(options),
        *_parameters(card, file.digest(), {} if options.threads is None else _threads(options.threads)),
    ]
    folder = _folder(repository, options, card.name)
    data = graph.SerializeToString()
    target = folder / str(options.version) / "model.onnx"
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)
    write_atomic(folder / "config.pbtxt", _text(folder.name, fields))
    return folder


def export_triton_plan(engine: Path, repository: Path, plugins: Path | None, options: TritonOptions) -> Path:
    """Writes ``NAME/config.pbtxt`` and ``NAME/1/model.plan`` of an engine, and the plugin library that it needs beside
    the models, as ``plugins/libsparsevit_plugins.so``: the server loads it when told to
    (``--backend-config=tensorrt,plugins=...``).

    Inputs and outputs are read of the plan by the server itself, which also joins requests of one level only: `keep` is
    a shape tensor there. It has no default.

    Args:
        engine: engine of `sparsevit build`, with its side-car.
        repository, options: the same as in `export_triton`.
        plugins: plugin library; None where the engine has none.

    Raises:
        CardError: the engine has no side-car.
        PlanError: a sparsity, which a plan has no default for.
        ExportError, SinkError: as `export_triton`.
    """
    sidecar = read_sidecar(engine)
    if options.sparsity is not None:
        raise PlanError("a plan's inputs have no defaults: requests bring their `keep`; leave the sparsity out")
    if sidecar.plugin_layers and plugins is None:
        raise ExportError(f"{engine.name} has {sidecar.plugin_layers} layers of the plugin library; name it: --plugins")
    span = sidecar.inputs.profile.get(IMAGE)
    fields = [
        'backend: "tensorrt"',
        f"max_batch_size: {options.max_batch if span is None else span.max[0]}",
        f"dynamic_batching {{ max_queue_delay_microseconds: {options.delay_us} }}",
        _instances(options),
        *_parameters(sidecar.model, sidecar.engine_sha256, {}),
    ]
    folder = _folder(repository, options, sidecar.model.name)
    target = folder / str(options.version) / "model.plan"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(engine, target)
    if plugins is not None and sidecar.plugin_layers:
        (repository.parent / "plugins").mkdir(exist_ok=True)
        shutil.copyfile(plugins, plugin_place(repository))
    write_atomic(folder / "config.pbtxt", _text(folder.name, fields))
    return folder


def plugin_place(repository: Path) -> Path:
    """Where the plugin library of a repository's plans is: beside it, for all folders in it are models."""
    return repository.parent / "plugins" / "libsparsevit_plugins.so"


def _batch_keep(graph: GraphProto, keep: np.ndarray) -> None:
    """Makes the input `keep` one of rows with a default; nodes read what the rows say together."""
    pairs = len(keep)
    _rename(graph, KEEP, _KEPT)
    value = next(each for each in graph.input if each.name == KEEP)
    value.CopyFrom(helper.make_tensor_value_info(KEEP, TensorProto.INT64, ["keep_rows", "keep_columns"]))
    constants = {"keep/first": [0], "keep/pairs": [pairs], "keep/columns": [1], "keep/rows": [0]}
    graph.initializer.append(numpy_helper.from_array(keep.astype(np.int64)[None], KEEP))
    graph.initializer.extend(
        numpy_helper.from_array(np.array(numbers, np.int64), name) for name, numbers in constants.items()
    )
    nodes = [
        helper.make_node("Slice", [KEEP, "keep/first", "keep/pairs", "keep/columns"], ["keep/all"], name="keep/slice"),
        helper.make_node("ReduceMax", ["keep/all", "keep/rows"], [_KEPT], name="keep/largest", keepdims=0),
    ]
    for node in reversed(nodes):
        graph.node.insert(0, node)


def _rename(graph: GraphProto, old: str, new: str) -> None:
    """Has all nodes read another value, also those within branches."""
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == old:
                node.input[i] = new
        for inner in _branches(node):
            _rename(inner, old, new)


def _branches(node: NodeProto) -> Iterable[GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _inputs(graph: GraphProto) -> list[Any]:
    """The inputs that have no default."""
    initial = {each.name for each in graph.initializer}
    return [value for value in graph.input if value.name not in initial]


def _tensor(kind: str, value: Any, optional: bool = False) -> str:
    tensor = value.type.tensor_type
    if tensor.elem_type not in _TYPES:
        raise ExportError(f"{kind} {value.name} is of a type that Triton's clients do not take; export the model again")
    dims = [each.dim_value if each.HasField("dim_value") else -1 for each in tensor.shape.dim][1:]
    also = " optional: true" if optional else ""
    return f"{kind} {{ name: {_quoted(value.name)} data_type: {_TYPES[tensor.elem_type]} dims: {dims}{also} }}"


def _instances(options: TritonOptions) -> str:
    kinds = {"cpu": "KIND_CPU", "gpu": "KIND_GPU", "auto": "KIND_AUTO"}
    if options.kind not in kinds:
        raise ExportError(f"instances run on cpu, gpu or auto, not on {options.kind!r}")
    return f"instance_group {{ kind: {kinds[options.kind]} count: {options.instances} }}"


def _threads(threads: int) -> dict[str, str]:
    return {"intra_op_thread_count": str(threads)}


def _parameters(card: ModelCard, digest: str, more: dict[str, str]) -> list[str]:
    said = {CARD_PARAMETER: card.to_json(), DIGEST_PARAMETER: digest, **more}
    return [f"parameters {{ key: {_quoted(k)} value: {{ string_value: {_quoted(v)} }} }}" for k, v in said.items()]


def _quoted(text: str) -> str:
    """A text in protobuf's text form, in ASCII."""
    escaped = json.dumps(text.encode().decode("latin-1"))[1:-1]  # each byte of UTF-8 as one letter
    return '"' + re.sub(r"\\u00([0-9a-f]{2})", r"\\x\1", escaped) + '"'


def _folder(repository: Path, options: TritonOptions, card_name: str) -> Path:
    name = options.name or re.sub(r"[^\w.-]+", "-", card_name).strip("-.")
    if not _NAME.fullmatch(name):
        raise ExportError(f"{name!r} is no name of a model; take letters, digits, dots, dashes and underscores: --name")
    return repository / name


def _text(name: str, fields: Sequence[str]) -> bytes:
    return ("\n".join([f"name: {_quoted(name)}", *fields]) + "\n").encode("ascii")
