"""What the layers of an engine were made of: TensorRT names fused ones ``__myl_FcAdd_myl0_2``, its inspector tells."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from ..graph.parts import UNNAMED, says_parts

_log = logging.getLogger(__name__)

#: How the parser marks a layer with the node that it comes from; fused layers carry the marks of all their nodes.
_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")


def layer_origins(trt: Any, engine: Any) -> dict[str, str]:
    """The graph's nodes behind each layer of an engine, as ``stages.0/merge/Pad + stages.0/merge/reduction/MatMul``.

    `parts.part_of_layer` reads the part from it. A warning is logged where no node says one.

    Args:
        trt: the Python module.
        engine: TensorRT's, built with detailed profiling (`capabilities.keep_layer_details`).

    Returns:
        By the name that a profiler reports. Layers of which nothing is known are left out: signals between streams,
        shapes computed on the host, and every layer of an engine that was built without details.
    """
    inspector = engine.create_engine_inspector()
    found = {}
    for i in range(engine.num_layers):
        try:
            # Several marks are parted by a control character, which strict JSON does not allow in a text.
            layer = json.loads(inspector.get_layer_information(i, trt.LayerInformationFormat.JSON), strict=False)
        except ValueError:
            continue
        if isinstance(layer, dict) and "Name" in layer:  # without details it is the name alone
            nodes = dict.fromkeys(_NODE.findall(layer.get("Metadata") or ""))
            if nodes:
                found[layer["Name"]] = " + ".join(nodes)
    if found and not says_parts(found.values()):
        _log.warning("the engine was built of a file that was exported before: %s, and build the engine anew", UNNAMED)
    return found
