"""What an mmdetection config, kept as text beside the weights, says that no shape of a weight shows.

The text is Python, but never run: assignments of plain values, lists and `dict(...)` are read, the rest is left out.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

from sparsevit_runtime.errors import CheckpointError

from ..heads import fpn, roi, rpn
from ..regions import LEVELS
from .huggingface import RGB
from .states import listing

#: Letters and nested brackets of a text that is read.
_LONGEST, _DEEPEST = 1_000_000, 60
_UNKNOWN = object()
#: Where pixels are normalised, and what says there that they are turned to red, green, blue.
_PIXELS = {"img_norm_cfg": "to_rgb", "model.data_preprocessor": "bgr_to_rgb"}
#: What heads compute that no weight shows, by place in the config.
_FIXED: tuple[tuple[str, Any], ...] = (
    ("neck.type", "FPN"),
    ("rpn_head.anchor_generator.type", "AnchorGenerator"),
    ("rpn_head.bbox_coder.type", "DeltaXYWHBBoxCoder"),
    ("roi_head.bbox_head.bbox_coder.type", "DeltaXYWHBBoxCoder"),
    ("roi_head.bbox_roi_extractor.type", "SingleRoIExtractor"),
    ("roi_head.bbox_roi_extractor.roi_layer.type", "RoIAlign"),
    ("roi_head.mask_roi_extractor.type", "SingleRoIExtractor"),
    ("roi_head.mask_roi_extractor.roi_layer.type", "RoIAlign"),
    ("rpn_head.anchor_generator.scales", [rpn.SCALE]),
    ("rpn_head.anchor_generator.ratios", list(rpn.RATIOS)),
    ("rpn_head.anchor_generator.strides", list(fpn.STRIDES)),
    ("rpn_head.anchor_generator.octave_base_scale", None),
    ("rpn_head.anchor_generator.center_offset", 0.0),
    ("rpn_head.bbox_coder.target_means", [0.0] * 4),
    ("rpn_head.bbox_coder.target_stds", [1.0] * 4),
    ("roi_head.bbox_head.bbox_coder.target_means", [0.0] * 4),
    ("roi_head.bbox_head.bbox_coder.target_stds", list(roi.STDS)),
    ("roi_head.bbox_roi_extractor.finest_scale", roi.FINEST_SCALE),
    ("roi_head.bbox_roi_extractor.featmap_strides", list(fpn.STRIDES[:LEVELS])),
    ("roi_head.bbox_roi_extractor.roi_layer.output_size", roi.BOX_SIZE),
    ("roi_head.bbox_roi_extractor.roi_layer.sampling_ratio", 0),
    ("roi_head.bbox_roi_extractor.roi_layer.aligned", True),
    ("roi_head.mask_roi_extractor.finest_scale", roi.FINEST_SCALE),
    ("roi_head.mask_roi_extractor.featmap_strides", list(fpn.STRIDES[:LEVELS])),
    ("roi_head.mask_roi_extractor.roi_layer.output_size", roi.MASK_SIZE),
    ("roi_head.mask_roi_extractor.roi_layer.sampling_ratio", 0),
    ("roi_head.mask_roi_extractor.roi_layer.aligned", True),
    ("neck.start_level", 0),
    ("neck.upsample_cfg.mode", "nearest"),
)
#: How it chooses in tests, which a weight has no part in.
_CHOOSING: tuple[tuple[str, Any], ...] = (
    ("rpn.nms_pre", rpn.CANDIDATES),
    ("rpn.nms.type", "nms"),
    ("rpn.nms.iou_threshold", rpn.OVERLAP),
    ("rpn.min_bbox_size", 0),
    ("rcnn.nms.type", "nms"),
    ("rcnn.nms.iou_threshold", roi.OVERLAP),
    ("rcnn.nms.class_agnostic", False),
    ("rcnn.mask_thr_binary", 0.5),
)
#: What options of `export` say of it.
_OPTIONAL: tuple[tuple[str, Any, str], ...] = (
    ("rpn.max_per_img", 1000, "--proposals"),
    ("rcnn.score_thr", 0.05, "--score-threshold"),
    ("rcnn.max_per_img", 100, "--detections"),
)
#: What the backbone computes that no weight shows.
_BACKBONE: tuple[tuple[str, Any], ...] = (("qk_scale", None), ("act_cfg.type", "GELU"))


def read(meta: object) -> Mapping[str, Any]:
    """The config that `meta` of a checkpoint holds as text; empty where it holds none that can be read."""
    if not isinstance(meta, Mapping):
        return {}
    text = next((meta[key] for key in ("config", "cfg") if isinstance(meta.get(key), str)), "")
    if len(text) > _LONGEST or _depth(text) > _DEEPEST:
        return {}
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found = {}
    for line in body:
        if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
            value = _value(line.value)
            if value is not _UNKNOWN:
                found[line.targets[0].id] = value
    return found


def check(config: Mapping[str, Any]) -> None:
    """Refuses heads whose weights fit and that compute something else.

    Raises:
        CheckpointError: naming what differs.
    """
    if other := list(_others(config.get("model"), _FIXED)):
        raise CheckpointError(f"its config has {listing(other)}")


def choices(config: Mapping[str, Any]) -> list[str]:
    """Where its tests choose objects otherwise than an exported file does, as lines for a message."""
    told = []
    for tests in (_at(config.get("model"), "test_cfg"), config.get("test_cfg")):  # older ones have it beside the model
        told += list(_others(tests, _CHOOSING))
        for place, default, option in _OPTIONAL:
            found = _at(tests, place)
            if found is not _UNKNOWN and found != default:
                told.append(f"{place} {str(found)[:60]} (here {default}, or what {option} says)")
    return told


def check_backbone(config: Mapping[str, Any]) -> None:
    """Refuses a backbone whose weights fit and that computes something else.

    Raises:
        CheckpointError: naming what differs.
    """
    if other := list(_others(_at(config.get("model"), "backbone"), _BACKBONE)):
        raise CheckpointError(f"its config has a backbone with {listing(other)}; SparseViT does not compute that")


def normalisation(config: Mapping[str, Any]) -> tuple[RGB, RGB] | None:
    """Mean and std of red, green and blue in 0..255 units; None where the config does not say them."""
    for place in _PIXELS:
        mean, std = (_numbers(_at(config, f"{place}.{name}")) for name in ("mean", "std"))
        if mean is not None and std is not None and min(std) > 0:
            return (mean[::-1], std[::-1]) if blue_first(config) else (mean, std)
    return None


def blue_first(config: Mapping[str, Any]) -> bool:
    """Whether the network was given pixels as blue, green, red."""
    return any(_at(config, f"{place}.{name}") is False for place, name in _PIXELS.items())


def _others(root: Any, expected: tuple[tuple[str, Any], ...]) -> Iterator[str]:
    for place, wanted in expected:
        found = _at(root, place)
        if found is not _UNKNOWN and _plain(found) != _plain(wanted):
            yield f"{place} {str(found)[:60]} (here {wanted})"


def _plain(value: Any) -> Any:
    """For comparison: a number stands for the pair of it, and order is kept."""
    if isinstance(value, (list, tuple)):
        return value[0] if len(value) == 2 and value[0] == value[1] else [_plain(v) for v in value]
    return value


def _at(value: Any, place: str) -> Any:
    for key in place.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return _UNKNOWN
        value = value[key]
    return value


def _numbers(value: Any) -> RGB | None:
    if not isinstance(value, (list, tuple)) or len(value) != 3:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e6 for v in value):
        return None
    red, green, blue = map(float, value)
    return red, green, blue


def _value(node: ast.expr) -> Any:
    """A plain value, list or dictionary; `_UNKNOWN` for anything that would have to be run."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return {item.arg: _value(item.value) for item in node.keywords if item.arg is not None}
    if isinstance(node, ast.Dict):
        names = [k.value if isinstance(k, ast.Constant) else None for k in node.keys]
        return {name: _value(v) for name, v in zip(names, node.values) if isinstance(name, str)}
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return _UNKNOWN if _UNKNOWN in items else items
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return _UNKNOWN


def _depth(text: str) -> int:
    depth = deepest = 0
    for letter in text:
        depth += (letter in "([{") - (letter in ")]}")
        deepest = max(deepest, depth)
    return deepest
