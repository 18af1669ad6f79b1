"""Mask R-CNN under mmdetection's names, as SparseViT published it: the backbone and what stands on it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from sparsevit_runtime.card import ClassCard, first_problem
from sparsevit_runtime.errors import CheckpointError
from sparsevit_runtime.tasks.coco_classes import COCO_CLASSES

from ..backbone import SparseViT
from ..heads.rpn import RATIOS
from ..tasks.instances import STAGES, InstanceModel
from . import mmdet_config, reference
from .architecture import check_values
from .states import BackboneState, Format, KeyMismatch, check_fit, check_plain, listing

_HEADS = ("neck.", "rpn_head.", "roi_head.")
_ADVICE = (
    "instances are exported of Mask R-CNN as SparseViT published it: four levels, three anchors per place, one box "
    "head and one mask head with a box and a mask for each class. Read the backbone alone with format={format!r} "
    "(--format {format} --task backbone), or train such heads on it"
)
#: What tells the width of the pyramid.
_LATERAL = "neck.lateral_convs.0.conv.weight"
#: Of a training config: windows were left out.
_PRUNED = re.compile(r"\bSparseViT\b|\bpruning_ratio")


def is_two_stage(keys: Iterable[str]) -> bool:
    """Whether these are keys of a detector with proposals and regions, whatever its backbone is called."""
    keys = list(keys)
    return all(any(f"{part}" in key for key in keys) for part in ("rpn_head.", "roi_head."))


FORMAT = Format(
    "mmdet",
    re.compile(rf"{reference.FORMAT.pattern.pattern}|(\.|^)(neck|rpn_head|roi_head)\."),
    reference.convert,
    is_two_stage,
)


def build(
    backbone: SparseViT, state: Mapping[str, Tensor], parts: BackboneState, meta: object, format: str
) -> tuple[InstanceModel, tuple[ClassCard, ...], tuple[str, ...]]:
    """The network with its weights.

    Args:
        backbone: built of `parts`.
        state: the file's tensors.
        parts: the same, sorted.
        meta: what the file says about itself.
        format: name of the format that the backbone alone can be read as.

    Returns:
        The network, its classes, and the keys that belong to none of its parts.

    Raises:
        CheckpointError: the heads are others, with what differs.
    """
    advice = _ADVICE.format(format=format)
    prefix = parts.origins["patch_embed.projection.weight"].rpartition("backbone.patch_embed.")[0]
    named = {key.removeprefix(prefix): key for key in parts.outside}
    heads = {name: state[key] for name, key in named.items() if name.startswith(_HEADS)}
    if told := _other_heads(heads):
        raise CheckpointError(f"{told}; {advice}")
    try:
        mmdet_config.check(mmdet_config.read(meta))
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {advice}") from error
    for name, tensor in heads.items():
        check_plain(named[name], tensor)
    num_classes = heads["roi_head.bbox_head.fc_cls.weight"].shape[0] - 1
    channels = heads[_LATERAL].shape[0]
    hidden = heads["roi_head.bbox_head.shared_fcs.0.weight"].shape[0]
    classes = _classes(meta, num_classes)
    try:
        network = InstanceModel(backbone, num_classes, channels, hidden)
        expected = {name: tensor for name, tensor in network.state_dict().items() if name.startswith(_HEADS)}
        check_fit(expected, heads, origins=named)
    except (KeyMismatch, ValueError) as error:
        raise CheckpointError(f"its heads are others: {error}; {advice}") from error
    check_values(heads, named)
    network.load_state_dict({**network.state_dict(), **heads})
    return network, classes, tuple(key for name, key in named.items() if name not in heads)


def _other_heads(heads: Mapping[str, Tensor]) -> str | None:
    """In what they differ from the published ones, as far as names and rows tell; None where they do not."""

    def count(pattern: str) -> int:
        return len({match[1] for name in heads if (match := re.match(pattern, name))})

    def rows(name: str) -> int:
        tensor = heads.get(name)
        return tensor.shape[0] if tensor is not None and tensor.ndim else 0

    box = "roi_head.bbox_head."
    if stages := count(rf"{re.escape(box)}(\d+)\."):
        return f"it is a cascade of {stages} box heads"
    if not any(name.startswith("roi_head.mask_head.") for name in heads):
        return "it has no mask head (roi_head.mask_head), as a Faster R-CNN has none"
    laterals, levels = count(r"neck\.lateral_convs\.(\d+)\."), count(r"neck\.fpn_convs\.(\d+)\.")
    if (laterals, levels) != (STAGES, STAGES):
        return (
            f"its pyramid has {laterals} lateral and {levels} further convolutions (neck), {STAGES} and {STAGES} belong"
        )
    if not rows(_LATERAL):
        return f"its pyramid lacks {_LATERAL}"
    scores, offsets = rows("rpn_head.rpn_cls.weight"), rows("rpn_head.rpn_reg.weight")
    if (scores, offsets) != (len(RATIOS), 4 * len(RATIOS)):
        return (
            f"rpn_head has {scores} scores and {offsets // 4} boxes per place, {len(RATIOS)} of each belong: other "
            "anchors, or two scores each"
        )
    if missing := [
        name for name in ("shared_fcs.0", "shared_fcs.1", "fc_cls", "fc_reg") if not rows(f"{box}{name}.weight")
    ]:
        return f"its box head is another: it lacks {listing(missing)} (roi_head.bbox_head)"
    classes, boxes = rows(f"{box}fc_cls.weight") - 1, rows(f"{box}fc_reg.weight")
    if boxes == 4 and classes != 1:
        return f"its boxes are the same for every class: fc_reg has 4 rows, {4 * classes} belong to {classes} classes"
    if classes < 1:
        return "fc_cls has no row but background's"
    if rows("roi_head.mask_head.conv_logits.weight") == 1 and classes != 1:
        return f"its masks are the same for every class: conv_logits has 1 row, {classes} belong"
    return None


def _classes(meta: object, count: int) -> tuple[ClassCard, ...]:
    """Names of the classes: the file's own, COCO's where there are 80, else numbers."""
    names = _named(meta)
    if names and len(names) != count:
        raise CheckpointError(
            f"its meta names {len(names)} classes ({listing(names)}), fc_cls has {count} and background; correct "
            "meta['CLASSES'], or remove it"
        )
    if not names:
        names = COCO_CLASSES if count == len(COCO_CLASSES) else tuple(f"class {i}" for i in range(count))
    try:
        return tuple(ClassCard(name=name) for name in names)
    except ValidationError as error:
        raise CheckpointError(f"its meta has a class without a proper name: {first_problem(error)}") from error


def _named(meta: object) -> tuple[str, ...]:
    """`CLASSES` of mmdetection 2; `dataset_meta` of 3 has them, too."""
    if not isinstance(meta, Mapping):
        return ()
    of_dataset = meta.get("dataset_meta")
    for place in (meta, of_dataset if isinstance(of_dataset, Mapping) else {}):
        for key in ("CLASSES", "classes"):
            names: Any = place.get(key)
            if isinstance(names, str):
                return (names,)
            if isinstance(names, (list, tuple)) and names and all(isinstance(name, str) for name in names):
                return tuple(names)
    return ()


def adapted(meta: object) -> bool | None:
    """Whether windows were left out in training: what the config beside the weights says; None without one."""
    if not isinstance(meta, Mapping):
        return None
    config = next((meta[key] for key in ("config", "cfg") if isinstance(meta.get(key), str)), None)
    return None if config is None else bool(_PRUNED.search(config))
