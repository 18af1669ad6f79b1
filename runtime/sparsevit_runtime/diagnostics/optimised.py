"""What ONNX Runtime makes of a file: the kinds of nodes that it runs, and the copies that it adds between them."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Literal

from ..backends.onnxruntime_session import SessionSettings, open_session
from ..dependencies import require
from ..graph.nodes import read_nodes

#: Copies to and from the host within a run on CUDA. The first kind stops the GPU until the host has gone on.
TO_HOST, FROM_HOST = "MemcpyToHost", "MemcpyFromHost"


def optimised_nodes(
    path: str | Path, *, device: Literal["cpu", "cuda"] | None = None, portable: bool = False
) -> Counter[str]:
    """How often each kind of node is in the graph of a model file as ONNX Runtime runs it; those within branches and
    loops are not counted.

    Args:
        path: path of the file.
        device: device it is optimised for; None for the best this machine offers.
        portable: without custom ops.

    Raises:
        ModelError, BackendError, MissingDependencyError: as `load`.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "optimised.onnx"
        settings = SessionSettings(device=device, portable=portable, optimised=written)
        open_session(require("onnxruntime"), Path(path), settings)
        return Counter(node.kind for node in read_nodes(written.read_bytes()))
