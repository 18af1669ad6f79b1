"""Times of single layers in ONNX Runtime, each under the name that tells its part.

ONNX Runtime drops the names of nodes that it fuses and inlines when it opens a file. So the optimised graph is written
out once, those nodes get names by part, and that graph is opened as it is, with the profiler on: the kernels are those
of a normal run.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..graph.parts import UNNAMED, name_by_part

_log = logging.getLogger(__name__)

_KERNEL = "_kernel_time"


def named_graph(ort: ModuleType, path: Path, options: Callable[[], Any], providers: list[str]) -> bytes:
    """The graph of a model file as ONNX Runtime runs it, with the part before each node's name."""
    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder) / "optimised.onnx"
        settings = options()
        settings.optimized_model_filepath = str(optimised)
        ort.InferenceSession(str(path), settings, providers=providers)
        data = optimised.read_bytes()
    named = name_by_part(data)
    if named == data:
        _log.warning("%s: %s", path.name, UNNAMED)
    return named


def time_layers(
    ort: ModuleType,
    graph: bytes,
    options: Callable[[], Any],
    providers: list[str],
    feeds: Mapping[str, np.ndarray],
) -> list[tuple[str, float]]:
    """Name and milliseconds of each kernel of one run, in the order they ran, after a run that is not timed."""
    with tempfile.TemporaryDirectory() as folder:
        settings = options()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "layers")
        session = ort.InferenceSession(graph, settings, providers=providers)
        for _ in range(2):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    # Every kernel ran twice; what ran while the file was opened is no event of a node.
    kernels = [event for event in events if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)]
    kernels.sort(key=lambda event: event["ts"])
    second = kernels[len(kernels) // 2 :]
    return [(event["name"].removesuffix(_KERNEL), event["dur"] / 1e3) for event in second]
