"""Checkpoint readers: reference, mmdetection, Swin of Microsoft, timm and HuggingFace, Mask2Former, ours, exported."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sparsevit_runtime.card import ClassCard
from sparsevit_runtime.errors import CheckpointError, ModelError
from sparsevit_runtime.model import bundled_models
from sparsevit_runtime.texts import shown

from ..card_file import open_exported
from ..options import IMAGENET_MEAN, IMAGENET_STD
from ..tasks import task_of
from . import exported, huggingface, mask2former, mask_rcnn, microsoft, mmdet_config, native, reference, timm
from .architecture import build_backbone
from .files import read_sidecar, read_state
from .loaded import LoadedCheckpoint
from .others import likeness
from .states import KeyMismatch, listing, unwrap

__all__ = ["FORMATS", "LoadedCheckpoint", "load_checkpoint"]

logger = logging.getLogger(__name__)

_SCHEMES = {
    form.name: form for form in (reference.FORMAT, mask_rcnn.FORMAT, timm.FORMAT, microsoft.FORMAT, huggingface.FORMAT)
}
#: Other layouts of backbones under Mask R-CNN: Microsoft's own detectors, of an mmdetection before it had a Swin.
_DETECTORS = (microsoft.FORMAT,)
FORMATS = (native.NAME, *_SCHEMES, mask2former.NAME, exported.NAME)


def load_checkpoint(
    path: str | Path, *, format: str = "auto", config: Mapping[str, Any] | None = None
) -> LoadedCheckpoint:
    """Reads a checkpoint and builds its network.

    Checkpoints of other projects give their backbone, mmdetection's Mask R-CNN and HuggingFace's Mask2Former all of it;
    keys of other detectors' other parts are ignored, counted in the log and listed in `LoadedCheckpoint.ignored`.
    Nothing in a file is executed.

    Args:
        path: `.pth`, `.pt`, `.bin`, `.ckpt`, `.safetensors`, a HuggingFace directory, an exported `.onnx` file, or the
            name of a bundled model.
        format: one of `FORMATS`, or ``auto`` to tell it from the keys. ``reference`` reads the backbone alone out of a
            native checkpoint, or one of mmdetection's, ``huggingface`` out of one of Mask2Former and its relatives.
        config: arguments of `SparseViT` that replace those inferred from the weights' shapes. Another `window_size`
            interpolates the relative position biases.

    Raises:
        CheckpointError: the file cannot be read, is of no known format, or its keys do not fit: missing and unknown
            keys inside the backbone are named, and so is the format that fits best. Two-stage detectors whose heads
            are not the published ones' say what differs.
    """
    if format not in ("auto", *FORMATS):
        raise CheckpointError(f"there is no checkpoint format {format!r}; choose one of auto, {', '.join(FORMATS)}")
    path = Path(path)
    try:
        there = path.exists()
    except OSError as error:
        raise CheckpointError(f"{shown(str(path))} is no file that can be read ({error.strerror})") from error
    if not there:
        path = bundled_models().get(str(path), path)
    if format == exported.NAME or (format == "auto" and path.suffix.lower() == exported.SUFFIX):
        return _load_exported(path, config)
    raw = read_state(path)
    try:
        if format == native.NAME and not native.matches(raw):
            raise CheckpointError(f"it lacks the mark of our own format (format: {native.MAGIC!r}); use format='auto'")
        if format == native.NAME or (format == "auto" and native.matches(raw)):
            return _load_native(raw, config)
        return _load_foreign(path, raw, format, config)
    except KeyMismatch as error:
        raise KeyMismatch(f"{path}: {error}") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _load_exported(path: Path, config: Mapping[str, Any] | None) -> LoadedCheckpoint:
    if config:
        raise CheckpointError(f"{path} is an exported file; its architecture is in its card, config cannot change it")
    try:
        proto, _, card = open_exported(path, weights=True)
    except ModelError as error:
        raise CheckpointError(str(error)) from error
    try:
        return exported.load(proto, card)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from error


def _load_native(raw: Mapping[str, Any], config: Mapping[str, Any] | None) -> LoadedCheckpoint:
    try:
        return native.load(raw, config)
    except KeyMismatch as error:
        raise KeyMismatch(
            f"read as native: {error}. It was changed after it was saved, or by another version; save it again"
        ) from error


def _load_foreign(
    path: str | Path, raw: Mapping[str, Any], name: str, config: Mapping[str, Any] | None
) -> LoadedCheckpoint:
    state = unwrap(raw)
    if name == mask2former.NAME or (name == "auto" and mask2former.matches(state)):
        return _load_mask2former(path, state, config)
    if name == "auto":
        mask2former.refuse_relatives(state, read_sidecar(path, "config.json") or {})
    closest = max(_SCHEMES.values(), key=lambda form: form.count(state))
    hits = closest.count(state)
    kind = likeness(state)
    looks = f"; it looks like {kind}" if kind else ""
    if not hits:
        raise CheckpointError(
            f"none of its {len(state)} keys is a Swin Transformer's{looks}; the first are {listing(state)}. "
            f"Known formats: {', '.join(FORMATS)}"
        )
    if closest is mask_rcnn.FORMAT and not reference.FORMAT.count(state):
        raise CheckpointError(
            f"it is a detector with proposals whose backbone is no Swin Transformer{looks}; the first keys are "
            f"{listing(state)}. SparseViT and mmdetection's Mask R-CNN on Swin can be read"
        )
    form = closest if name == "auto" else _SCHEMES[name]
    sidecars = form is huggingface.FORMAT
    if sidecars:
        huggingface.check_config(read_sidecar(path, "config.json") or {})
    try:
        parts = form.convert(state)
        backbone = build_backbone(parts, config)
    except KeyMismatch as error:
        advice = (
            f"use format={closest.name!r}"
            if form is not closest
            else f"it is incomplete, or a variant of Swin that SparseViT does not have{looks}"
        )
        raise KeyMismatch(
            f"read as {form.name}: {error}. Closest format: {closest.name} ({hits} of {len(state)} keys); {advice}"
        ) from error
    meta = raw.get("meta")
    about = mmdet_config.read(meta)
    mmdet_config.check_backbone(about)
    network: nn.Module = backbone
    classes: tuple[ClassCard, ...] = ()
    outside: Sequence[str] = parts.outside
    whole = form is mask_rcnn.FORMAT or (name == "auto" and form in _DETECTORS and mask_rcnn.is_two_stage(state))
    if whole:
        alone = reference.FORMAT if form is mask_rcnn.FORMAT else form
        network, classes, outside = mask_rcnn.build(backbone, state, parts, meta, alone.name)
    adapted = mask_rcnn.adapted(meta) if form in (mask_rcnn.FORMAT, reference.FORMAT) else None
    if whole and not adapted:
        says = "does not say that" if adapted is None else "says that no"
        logger.warning(
            "%s %s windows were left out in its training: not adapted to sparsity, it answers worse the more are left "
            "out; adapt it first",
            path,
            says,
        )
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if sidecars:
        mean, std = huggingface.normalisation(_preprocessor(path)) or (mean, std)
    elif about:
        mean, std = mmdet_config.normalisation(about) or (mean, std)
        if mmdet_config.blue_first(about):
            weight = backbone.patch_embed.projection.weight
            weight.data = weight.data.flip(1)
        if whole and (chosen := mmdet_config.choices(about)):
            logger.warning("%s was tested otherwise than an exported file chooses: %s", path, listing(chosen, limit=9))
    if parts.leftovers:
        logger.info("%s: %d keys are not needed (%s)", path, len(parts.leftovers), listing(parts.leftovers))
    if outside:
        beyond = "backbone" if network is backbone else "network"
        logger.warning("%s: %d keys outside the %s are ignored (%s)", path, len(outside), beyond, listing(outside))
    return LoadedCheckpoint(
        network=network.eval(),
        task=task_of(network).name,
        format=form.name,
        classes=classes,
        mean=mean,
        std=std,
        ignored=(*outside, *parts.leftovers),
        adapted=adapted,
    )


def _load_mask2former(
    path: str | Path, state: Mapping[str, Tensor], config: Mapping[str, Any] | None
) -> LoadedCheckpoint:
    about = read_sidecar(path, "config.json") or {}
    try:
        return mask2former.load(state, about, _preprocessor(path), config)
    except KeyMismatch as error:
        raise KeyMismatch(f"read as {mask2former.NAME}: {error}. It is incomplete, or a variant of it") from error


def _preprocessor(path: str | Path) -> dict[str, Any]:
    """How HuggingFace's network was given pixels; empty, and told, where its folder does not say it."""
    found = read_sidecar(path, "preprocessor_config.json")
    if found is None:
        logger.warning("%s has no preprocessor_config.json beside it: pixels are normalised as ImageNet's", path)
    return found or {}
