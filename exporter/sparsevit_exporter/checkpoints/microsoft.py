"""The original Swin Transformer's names (Liu et al., 2021), as in Microsoft's classification and detection files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from .merging import reorder_merges
from .states import CLASSIFIER_LEFTOVER, BackboneState, Format, behind, find_prefix, sort_keys

_ANCHOR = "patch_embed.proj.weight"
_BLOCK = re.compile(r"layers\.(\d+\.blocks\.\d+)\.(norm1|norm2|attn|mlp\.fc1|mlp\.fc2)\.(\w[\w.]*)$")
_BLOCK_PARTS = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attn": "attn.w_msa",
    "mlp.fc1": "ffn.layers.0.0",
    "mlp.fc2": "ffn.layers.1",
}
_MERGE = re.compile(r"layers\.(\d+\.downsample\.(?:norm|reduction)\.(?:weight|bias))$")


def _rename(name: str) -> str | None:
    """The reference's name; None when it has none."""
    if block := _BLOCK.match(name):
        return f"stages.{block[1]}.{_BLOCK_PARTS[block[2]]}.{block[3]}"
    if merge := _MERGE.match(name):
        return f"stages.{merge[1]}"
    if name.startswith("patch_embed.proj."):
        return name.replace("proj", "projection", 1)
    return name if re.match(r"patch_embed\.norm\.|norm\d+\.", name) else None


def convert(state: Mapping[str, Tensor]) -> BackboneState:
    """Renames, and reorders the channels of patch merging.

    Raises:
        KeyMismatch: there is no backbone, or more than one.
    """
    parts = sort_keys(state, behind(find_prefix(state, _ANCHOR)), CLASSIFIER_LEFTOVER, _rename)
    reorder_merges(parts)
    return parts


FORMAT = Format(
    "microsoft",
    re.compile(
        r"(\.|^)(patch_embed\.proj\.|(?<!encoder\.)layers\.\d+\."
        r"(blocks\.\d+\.(norm[12]|attn|mlp)\.|downsample\.(norm|reduction)\.))"
    ),
    convert,
)
