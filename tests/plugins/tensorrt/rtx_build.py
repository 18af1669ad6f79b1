"""Builds an engine with TensorRT-RTX and prints a JSON report as its last line; needs no GPU.

usage: rtx_build.py '{"model": file, "profile": {input: [min, opt, max]}, "library": file or null, "aliased": false,
                      "detailed": false}'
A profile entry is a shape, or the values of an input that decides shapes.
"""

from __future__ import annotations

import json
import sys

import tensorrt_rtx as trt


class Log(trt.ILogger):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, severity, message) -> None:
        self.lines.append(f"{severity.name} {message}")


def main() -> None:
    request = json.loads(sys.argv[1])
    log = Log()
    registry = trt.get_plugin_registry()
    loaded = request["library"] is not None and registry.load_library(request["library"]) is not None
    builder = trt.Builder(log)
    network = builder.create_network()
    parser = trt.OnnxParser(network, log)
    report = {"loaded": loaded, "plugins": [], "types": {}, "engine_bytes": None}
    report["parsed"] = parser.parse_from_file(request["model"])
    if report["parsed"]:
        layers = [network.get_layer(i) for i in range(network.num_layers)]
        plugins = [layer for layer in layers if layer.type == trt.LayerType.PLUGIN_V3]
        report["plugins"] = [str(layer.name) for layer in plugins]
        report["conditions"] = sum(layer.type == trt.LayerType.CONDITION for layer in layers)
        report["types"] = {layer.name: layer.get_output(0).dtype.name for layer in plugins}
        config = builder.create_builder_config()
        if request.get("aliased"):
            config.set_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03, True)
        if request.get("detailed"):
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        profile = builder.create_optimization_profile()
        for name, (low, typical, high) in request["profile"].items():
            tensor = next(t for t in map(network.get_input, range(network.num_inputs)) if t.name == name)
            set_range = profile.set_shape_input if tensor.is_shape_tensor else profile.set_shape
            set_range(name, low, typical, high)
        config.add_optimization_profile(profile)
        engine = builder.build_serialized_network(network, config)
        report["engine_bytes"] = engine.nbytes if engine is not None else None
    report["log"] = log.lines
    sys.stdout.write("\n" + json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
