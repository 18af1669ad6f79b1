"""Networks that are no Swin Transformer, or another one: named, so that whoever gave their weights knows why not."""

from __future__ import annotations

import re
from collections.abc import Iterable

#: What keys tell, the most particular first.
_KINDS = (
    (
        r"(logit_scale|cpb_mlp\.|continuous_position_bias_mlp\.)",
        "Swin Transformer V2, which normalises its attention otherwise",
    ),
    (
        r"(^|\.)features\.\d+\.\d+\.attn\.qkv\.",
        "torchvision's Swin Transformer; timm, Microsoft and HuggingFace have one too",
    ),
    (
        r"(^|\.)layers_\d+\.(blocks|downsample)\.",
        "timm's Swin Transformer with features_only=True; save the model without it",
    ),
    (r"(^|\.)(downsample_layers\.|stages\.\d+\.\d+\.(dwconv|depthwise_conv|gamma)\b)", "a ConvNeXt"),
    (r"(^|\.)(layer[1-4]\.\d+\.conv1\.|res[2-5]\.\d+\.conv1\.)", "a ResNet"),
    (r"(^|\.)(cls_token|pos_embed)$", "a plain Vision Transformer"),
)
_DEFORMABLE = re.compile(r"\.conv\d?_offset\.")


def likeness(keys: Iterable[str]) -> str | None:
    """What a network with such keys is, as the end of a sentence; None where they do not tell."""
    keys = list(keys)
    for pattern, kind in _KINDS:
        if any(re.search(pattern, key) for key in keys):
            return f"{kind}, with deformable convolutions" if any(map(_DEFORMABLE.search, keys)) else kind
    return None
