"""What SparseViT computes otherwise than the Swin Transformer whose weights it is given."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sparsevit_runtime.windows.geometry import PATCH_SIZE, StageGeometry

from . import huggingface, mask2former, mask_rcnn, microsoft, reference, timm

#: Formats of dense Swin Transformers that pad behind the norm, and do not shift within one window.
_DENSE = (microsoft.FORMAT.name, timm.FORMAT.name, huggingface.FORMAT.name, mask2former.NAME)
#: Of mmdetection, whose Swin pads behind the norm as well, but shifts as SparseViT does. Both have the same names.
_MMDET = (mask_rcnn.FORMAT.name, reference.FORMAT.name)


def differences(format: str, stages: Sequence[StageGeometry], adapted: bool | None = None) -> str | None:
    """One line on why a dense Swin's answers will differ, at any sparsity; None where they will not.

    SparseViT pads a map before its norm, Swin behind it; SparseViT keeps the shift on maps no larger than a window.

    Args:
        format: name of the format that the weights were read as.
        stages: geometry of the input size.
        adapted: whether the file says that it is SparseViT's, see `LoadedCheckpoint`.
    """
    unless = ""
    if format == mask_rcnn.FORMAT.name and adapted is None:
        unless = ", unless it is of SparseViT's own training"
    elif format not in _DENSE and not (format in _MMDET and adapted is False):
        return None
    padded = [i for i, s in enumerate(stages, 1) if s.is_padded]
    shifted = (
        []
        if format in _MMDET
        else [i for i, s in enumerate(stages, 1) if s.depth > 1 and min(s.height, s.width) <= s.window_size]
    )
    reasons = []
    if padded:
        step = math.lcm(*(PATCH_SIZE * s.window_size * 2**i for i, s in enumerate(stages)))
        reasons.append(f"it pads before the norm ({_stages(padded)}; not at multiples of {step} pixels)")
    if shifted:
        reasons.append(f"it keeps the shift on maps of one window ({_stages(shifted)}; not at larger inputs)")
    whose = mask_rcnn.FORMAT.name if format in _MMDET else format
    told = f"SparseViT will answer otherwise than this {whose} Swin: {', and '.join(reasons)}{unless}"
    return told if reasons else None


def _stages(numbers: Sequence[int]) -> str:
    return f"stage{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
