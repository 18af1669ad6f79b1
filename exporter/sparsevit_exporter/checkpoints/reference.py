"""The reference's own names, which are mmdetection's: optionally behind `backbone.`, inside a detector."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .states import CLASSIFIER_LEFTOVER, BackboneState, Format, behind, find_prefix, sort_keys

_ANCHOR = "patch_embed.projection.weight"


def convert(state: Mapping[str, Tensor]) -> BackboneState:
    """Drops the prefix; names stay.

    The reference's converter carries masks and the classifier's norm over from Microsoft's files: dropped here too.

    Raises:
        KeyMismatch: there is no backbone, or more than one.
    """
    return sort_keys(state, behind(find_prefix(state, _ANCHOR)), CLASSIFIER_LEFTOVER, rename=str)


FORMAT = Format(
    "reference",
    re.compile(
        r"(\.|^)(patch_embed\.projection\.|stages\.\d+\."
        r"(blocks\.\d+\.(norm[12]|attn\.w_msa|ffn\.layers)\.|downsample\.(norm|reduction)\.))"
    ),
    convert,
)
