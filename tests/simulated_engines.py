"""Engine files for the simulated TensorRT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.tensorrt.engine_card import NO_GPU, EngineCard, Inputs, sha256, sidecar_path

VERSION = "tensorrt 10.3.0"


def write_engine(path: Path, card: ModelCard, **inputs: Any) -> Path:
    """An engine file, whose content only the simulated TensorRT understands, and its true side-car."""
    data = b"engine of a simulation"
    path.write_bytes(data)
    given = {"tensorrt": VERSION, "gpu": NO_GPU, **inputs}
    about = Inputs(onnx_sha256="00", plugins_sha256=None, precision="fp32", tf32=False, profile={}, **given)
    document = EngineCard(
        inputs=about,
        engine_sha256=sha256(data),
        engine_bytes=len(data),
        plugin_layers=0,
        arithmetic={},
        precision_checked="network",
        workspace_mib=1,
        model=card,
    )
    sidecar_path(path).write_text(document.model_dump_json())
    return path
