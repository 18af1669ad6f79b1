"""timm's names, which are Microsoft's with each merge at the start of the next stage (from timm 0.9 on).

`layers.1.downsample` stands before the blocks of `layers.1`; Microsoft's files have it as `layers.0.downsample`. The
channels of a merge are in Microsoft's order (timm/models/swin_transformer.py, PatchMerging).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from . import microsoft
from .states import BackboneState, Format

_MERGE = re.compile(r"(?<!encoder\.)layers\.(\d{1,4})(?=\.downsample\.(?:norm|reduction)\.)")
_BLOCK = re.compile(r"(?<!encoder\.)layers\.(\d{1,4})\.blocks\.")


def matches(keys: Iterable[str]) -> bool:
    """Whether merges stand in all stages but the first, rather than in all but the last."""
    keys = list(keys)
    merges = {int(m[1]) for m in map(_MERGE.search, keys) if m}
    stages = {int(m[1]) for m in map(_BLOCK.search, keys) if m}
    return bool(merges) and 0 not in merges and max(merges) == max(stages, default=0)


def convert(state: Mapping[str, Tensor]) -> BackboneState:
    """As Microsoft's, with the merges one stage earlier.

    Raises:
        KeyMismatch: there is no backbone, or more than one.
    """
    key_of = {_MERGE.sub(lambda m: f"layers.{int(m[1]) - 1}", key): key for key in state}
    parts = microsoft.convert({moved: state[key] for moved, key in key_of.items()})
    parts.origins = {name: key_of[moved] for name, moved in parts.origins.items()}
    for keys in (parts.unknown, parts.leftovers, parts.outside):
        keys[:] = [key_of[moved] for moved in keys]
    return parts


FORMAT = Format("timm", microsoft.FORMAT.pattern, convert, matches)
