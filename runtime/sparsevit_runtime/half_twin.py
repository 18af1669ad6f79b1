"""Half-precision twins of bundled models: what a GPU runs of them unless it is told to compute as exported.

The bundled files are in float32, of which a GPU's tensor cores compute nothing.
"""

from __future__ import annotations

import logging
from pathlib import Path

from .bundled import is_bundled_in_half
from .errors import SinkError
from .graph.half import half_file
from .graph.onnx_file import read_onnx
from .tensorrt.cache import keep_half

_log = logging.getLogger(__name__)


def half_twin(path: Path) -> Path:
    """The half-precision twin of a bundled model, made of it in the cache folder; any other file is its own.

    Its card has no recorded outputs: they are those of the file in float32, with which it is to be compared.

    Args:
        path: path of a model file.
    """
    if not is_bundled_in_half(path):
        return path
    try:
        twin = keep_half(path.stem, twin_of(path))
    except SinkError as error:
        _log.warning("%s computes in float32, as there is no place for its half-precision twin: %s", path.stem, error)
        return path
    _log.info("%s computes in half precision: %s", path.stem, twin)
    return twin


def twin_of(path: Path) -> bytes:
    """The twin's file of a bundled model: the same bytes every time."""
    return half_file(read_onnx(path))
