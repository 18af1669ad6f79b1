"""How a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class LoadOptions:
    """Settings of backends; each takes those that concern it.

    Attributes:
        threads: host threads for inference (ONNX Runtime), no more than there are logical cores; None for one per
            physical core.
        device: ``cpu``, ``cuda``, or None for the best this machine offers.
        batch: smallest, typical and largest batch of an engine that is made of a model file; None for single frames.
        plugins: library of kernels; None for the one that is found. For an engine that is made of a model file, and its
            letterbox, TensorRT's plugin library; for ONNX Runtime on CUDA its library of custom ops.
        portable: the portable bodies in place of this project's kernels (engines of model files; ONNX Runtime on CUDA).
        graphs: batch sizes and levels to hold CUDA graphs for; 0 for none.
        precision: precision of the products of an fp32 graph on a GPU: ``exported`` keeps fp32, ``tf32`` rounds their
            factors to ten bits of mantissa, ``auto`` takes half precision for the bundled models that agree with
            themselves in it (`half_twin`), and keeps fp32 for all other files (engines that are made of a model file;
            ONNX Runtime on CUDA).
    """

    threads: int | None = None
    device: str | None = None
    batch: tuple[int, int, int] | None = None
    plugins: Path | None = None
    portable: bool = False
    graphs: int = 16
    precision: Literal["auto", "exported", "tf32"] = "auto"
