"""SparseViT on camera frames, under one name: what `sparsevit_runtime` has, and `python -m sparsevit` for the command.

    import sparsevit

    model = sparsevit.load("model.onnx")
    result = model(frame, sparsity=0.6)

Exporting and training are `sparsevit_exporter` and `sparsevit_training`, which need PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sparsevit_runtime
from sparsevit_runtime import __version__ as __version__

if TYPE_CHECKING:
    from sparsevit_runtime import *  # noqa: F403

__all__ = list(sparsevit_runtime.__all__)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(sparsevit_runtime, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
