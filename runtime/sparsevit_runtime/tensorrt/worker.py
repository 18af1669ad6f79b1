"""Builds one engine in a process of its own, which `child_process.command` starts.

The request is one JSON document on stdin (`messages.Request`). Answers are JSON lines on stdout: ``{"progress":
[phase, done, steps]}``, and as the last one ``{"built": {...}}`` or ``{"error": text}``. Whatever libraries write goes
to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..contract import KEEP
from . import capabilities
from .in_place import scatter_in_place
from .log import process_log
from .messages import Built, Request
from .plugin_library import PLUGIN_NAMESPACE, PLUGIN_VERSION
from .plugin_nodes import in_namespace

_SHOWN_ERRORS = 3
_COMPUTING_LAYERS = ("MATRIX_MULTIPLY", "CONVOLUTION", "DECONVOLUTION")
#: One product in so many of an fp16 graph may be of another type.
_OTHER_SHARE = 10
_TYPE_OF_PRECISION = {"fp32": "FLOAT", "fp16": "HALF"}


class Refused(Exception):
    """TensorRT does not build this; the message is for the user."""


def build(request: Request, say: Callable[[dict[str, Any]], None]) -> Built:
    """Builds the engine and writes it.

    Raises:
        Refused: with what TensorRT says about it.
    """
    trt = importlib.import_module(request.flavour)
    log = process_log(trt)
    try:
        builder = trt.Builder(log)
    except TypeError as error:  # what pybind11 makes of a null pointer
        raise Refused(f"{request.flavour} cannot start a builder here ({log.summary()}); it needs a GPU") from error
    namespace = "" if request.plugins is None else _load_plugins(trt, request, log)
    if not capabilities.parser_finds_its_core(trt):
        raise Refused(
            "TensorRT for RTX is installed without libtensorrt_rtx.so; put a link of that name to its "
            "libtensorrt_rtx.so.1 into a folder of LD_LIBRARY_PATH"
        )
    data, refusal = in_namespace(Path(request.model).read_bytes(), request.nodes, namespace), ""
    aliased, scatters = scatter_in_place(data) if request.in_place else (data, 0)
    if scatters:
        try:
            return replace(_build(trt, builder, aliased, True, request, log, say), in_place_scatters=scatters)
        except Refused as error:  # a preview feature: whatever is wrong with it, engines that copy are to be had
            refusal = str(error)
    return replace(_build(trt, builder, data, False, request, log, say), in_place_refused=refusal)


def _build(
    trt: Any,
    builder: Any,
    data: bytes,
    aliased: bool,
    request: Request,
    log: Any,
    say: Callable[[dict[str, Any]], None],
) -> Built:
    """Builds one graph, `aliased` being whether plugins in it write into their inputs."""
    network = builder.create_network(capabilities.network_flags(trt))
    _parse(trt, network, data, request, log)
    layers, arithmetic = _check_precision(trt, network, request.precision)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.workspace)
    capabilities.set_tf32(trt, config, request.tf32)
    capabilities.keep_layer_details(trt, config)
    if aliased:
        capabilities.allow_aliased_plugins(trt, config)
    capabilities.set_monitor(trt, config, lambda *step: say({"progress": step}))
    if request.timing_cache is not None:
        _set_timing_cache(config, Path(request.timing_cache), request, log)
    levels: list[list[int] | None] = [*request.levels] or [None]
    for level in levels:
        config.add_optimization_profile(_profile(builder, network, request, level, log))
    mark = log.mark()
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Refused(f"TensorRT cannot build {request.source}: {log.summary(mark)}")
    Path(request.engine).write_bytes(engine)
    if request.timing_cache_out is not None:
        Path(request.timing_cache_out).write_bytes(capabilities.timing_cache(config))
    checked = "network"
    if request.gpu:
        _check_engine(trt, network, engine, request, log)
        checked = "engine"
    return Built(layers, arithmetic, checked)


def _load_plugins(trt: Any, request: Request, log: Any) -> str:
    """Loads the plugin library. Returns the namespace that its plugins are in."""
    registry = trt.get_plugin_registry()
    mark = log.mark()
    loaded = registry.load_library(request.plugins)
    if loaded is None:
        raise Refused(
            f"TensorRT cannot load the plugin library {request.plugins}: {log.summary(mark)}. Build it for this "
            "machine (docs/tensorrt.md), or build with --portable, which needs none"
        )
    found = [capabilities.creator_namespaces(registry, node, PLUGIN_VERSION) for node in request.nodes]
    # A library of before has all of them in the empty namespace; another's of the same name may lie there beside ours.
    for namespace in (PLUGIN_NAMESPACE, ""):
        if all(namespace in namespaces for namespaces in found):
            return namespace
    absent = [node for node, namespaces in zip(request.nodes, found, strict=True) if PLUGIN_NAMESPACE not in namespaces]
    raise Refused(
        f"{request.plugins} has no plugin {', '.join(absent)} version {PLUGIN_VERSION}, which {request.source} "
        "needs; use the library of this sparsevit-edge, or build with --portable"
    )


def _parse(trt: Any, network: Any, data: bytes, request: Request, log: Any) -> None:
    mark = log.mark()
    parser = trt.OnnxParser(network, log)
    if parser.parse(data, request.source) and network.num_outputs:
        return
    errors = [capabilities.parser_error(parser.get_error(i)) for i in range(parser.num_errors)]
    shown = "; ".join(errors[:_SHOWN_ERRORS]) or log.summary(mark)
    more = f" (and {len(errors) - _SHOWN_ERRORS} more)" if len(errors) > _SHOWN_ERRORS else ""
    raise Refused(f"TensorRT cannot parse {request.source}: {shown}{more}")


def _check_precision(trt: Any, network: Any, precision: str) -> tuple[int, dict[str, int]]:
    """Checks the types of a strongly typed network, which are those of its engine.

    Returns:
        The number of plugin layers, and of matrix products and convolutions by type.
    """
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    kinds = {getattr(trt.LayerType, name) for name in _COMPUTING_LAYERS if hasattr(trt.LayerType, name)}
    counted = Counter(layer.get_output(0).dtype.name for layer in layers if layer.type in kinds)
    types = dict(sorted(counted.items()))
    wanted = _TYPE_OF_PRECISION[precision]
    total = sum(types.values())
    # An fp16 graph keeps the few products that must not overflow in fp32 (the exporter: the patch embedding); an fp32
    # graph has no reason for anything else.
    accepted = 0 if precision == "fp32" else max(1, total // _OTHER_SHARE)
    if total - types.get(wanted, 0) > accepted:
        raise Refused(
            f"the model card says {precision}, but the network's products and convolutions are {types}; export the "
            "model again"
        )
    plugin = getattr(trt.LayerType, "PLUGIN_V3", None)
    return sum(layer.type == plugin for layer in layers), types


def _set_timing_cache(config: Any, file: Path, request: Request, log: Any) -> None:
    data = file.read_bytes()
    mark = log.mark()
    taken = capabilities.set_timing_cache(config, data)
    # A file that is no timing cache is replaced by an empty one, with no more than a warning.
    if taken and not (data and any("deserialize timing cache" in line for line in log.warnings(mark))):
        return
    if request.timing_cache_name is not None:
        raise Refused(
            f"TensorRT does not take the timing cache {request.timing_cache_name}: it is of another version or GPU, or "
            "no timing cache at all. Name another file; a new one is made where there is none"
        )
    capabilities.set_timing_cache(config, b"")


def _profile(builder: Any, network: Any, request: Request, level: list[int] | None, log: Any) -> Any:
    """The ranges of the inputs; kernels are chosen for the values of `keep` that are a level, where one is given."""
    mark = log.mark()
    profile = builder.create_optimization_profile()
    inputs = [network.get_input(i) for i in range(network.num_inputs)]
    if sorted(t.name for t in inputs) != sorted(request.profile):
        raise Refused(
            f"{request.source} has the inputs {[t.name for t in inputs]}, its card stands for {list(request.profile)}; "
            "export the model again"
        )
    for tensor in inputs:
        if tensor.name == KEEP and not tensor.is_shape_tensor:
            if request.nodes:
                raise Refused(
                    f"keep decides no shape in {request.source}: its engine would compute the same windows whatever is "
                    "asked for; export the model again"
                )
            continue  # values that decide no shape have no bounds
        low, typical, high = request.profile[tensor.name]
        if tensor.name == KEEP and level is not None:
            typical = level
        if not capabilities.set_values(profile, tensor, low, typical, high):
            raise Refused(f"TensorRT does not take the range of {tensor.name}: {log.summary(mark)}")
    return profile


def _check_engine(trt: Any, network: Any, data: Any, request: Request, log: Any) -> None:
    """Opens the engine and compares the types of its inputs and outputs with the network's."""
    mark = log.mark()
    engine = trt.Runtime(log).deserialize_cuda_engine(data)
    if engine is None:
        raise Refused(f"the engine just built from {request.source} does not open on this GPU: {log.summary(mark)}")
    tensors = [network.get_input(i) for i in range(network.num_inputs)]
    tensors += [network.get_output(i) for i in range(network.num_outputs)]
    for tensor in tensors:
        found = engine.get_tensor_dtype(tensor.name)
        if found != tensor.dtype:
            raise Refused(f"{tensor.name} is {found.name} in the engine, {tensor.dtype.name} in the model")


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent as well, which ends this process
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(answer: dict[str, Any]) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    request = Request(**json.load(sys.stdin))
    try:
        say({"built": asdict(build(request, say))})
    except Refused as error:
        say({"error": str(error)})
        return 1
    return 0
