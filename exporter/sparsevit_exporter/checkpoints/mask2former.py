"""Mask2Former on a Swin Transformer, as transformers saves it: `Mask2FormerForUniversalSegmentation.save_pretrained`.

Checkpoints for semantic, panoptic and instance segmentation are of one network; it is read for semantic segmentation.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from sparsevit_runtime.card import ClassCard, first_problem
from sparsevit_runtime.errors import CheckpointError

from ..heads.mask2former.deformable import LEVELS
from ..options import IMAGENET_MEAN, IMAGENET_STD
from ..tasks.segmentation import Mask2FormerConfig, Mask2FormerModel
from . import huggingface
from .architecture import build_backbone, check_values
from .loaded import LoadedCheckpoint
from .states import BackboneState, KeyMismatch, check_fit, listing

logger = logging.getLogger(__name__)

NAME = "mask2former"
_MARK = "transformer_module.queries_features.weight"
_HEAD = re.compile(r"^(?:\w+\.)*?(pixel_level_module\.decoder|transformer_module|class_predictor)\.(.+)$")
_PARTS = {"pixel_level_module.decoder": "pixel_decoder", "transformer_module": "transformer_decoder"}
#: Of training: the weights of classes in its loss.
_LEFTOVER = re.compile(r"(\.|^)criterion\.")
#: What the head takes for granted and shapes of weights do not show.
_FIXED_CONFIG = {
    "pre_norm": False,
    "activation_function": "relu",
    "common_stride": 4,
    "feature_strides": [4, 8, 16, 32],
    "use_timm_backbone": False,
}
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_BACKBONE_ALONE = "export its backbone alone with --format {format} --task backbone"
_CONVERT = (
    "transformers' convert_mask2former_original_pytorch_checkpoint_to_pytorch.py makes a folder of it that can be read"
)


def matches(keys: Iterable[str]) -> bool:
    """Whether these are keys of such a network, whatever its backbone is."""
    return any(key == _MARK or key.endswith(f".{_MARK}") for key in keys)


def refuse_relatives(keys: Iterable[str], config: Mapping[str, Any]) -> None:
    """Refuses networks that are easily taken for Mask2Former.

    Args:
        keys: keys of the file.
        config: its `config.json`, empty where there is none.

    Raises:
        CheckpointError: saying what it is, and what can be done with it.
    """
    keys = list(keys)
    kind = config.get("model_type")
    alone = _BACKBONE_ALONE.format(format=huggingface.FORMAT.name)
    if kind == "oneformer" or any(".task_encoder." in f".{key}" for key in keys):
        raise CheckpointError(
            f"it is a OneFormer, which asks for a task in words beside the image and has another decoder; "
            f"use a Mask2Former checkpoint, or {alone}"
        )
    if kind == "maskformer" or any("pixel_level_module.decoder.fpn." in key for key in keys):
        raise CheckpointError(
            f"it is a MaskFormer, the predecessor of Mask2Former with another pixel decoder; use a Mask2Former "
            f"checkpoint, or {alone}"
        )
    mmdet = any(key.endswith("query_feat.weight") for key in keys) and any(".pixel_decoder." in key for key in keys)
    if mmdet and not any("sem_seg_head." in key for key in keys):
        raise CheckpointError(
            "it is a Mask2Former as mmdetection or mmsegmentation saves it, whose head has other names; use one that "
            f"transformers saved, or {_BACKBONE_ALONE.format(format='reference')}"
        )
    if any("sem_seg_head.predictor.query_feat." in key for key in keys):
        raise CheckpointError(
            f"it is a Mask2Former as detectron2 saves it; {_CONVERT}, or {_BACKBONE_ALONE.format(format='microsoft')}"
        )


def load(
    state: Mapping[str, Tensor],
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any],
    overrides: Mapping[str, Any] | None,
) -> LoadedCheckpoint:
    """Rebuilds the network.

    Args:
        state: weights of the file.
        config, preprocessor: `config.json` and `preprocessor_config.json` beside it, empty where there are none.
        overrides: arguments as for `build_backbone`.

    Raises:
        CheckpointError: its backbone is no Swin Transformer, or it has options that are not implemented.
        KeyMismatch: keys or shapes are not those of such a network.
    """
    _check_config(config)
    if not huggingface.FORMAT.count(state):
        raise CheckpointError("it is a Mask2Former whose backbone is no Swin Transformer; only those can be read")
    parts = huggingface.convert(state)
    backbone = build_backbone(parts, overrides)
    if len(backbone.depths) != LEVELS + 1:
        raise CheckpointError(f"its backbone has {len(backbone.depths)} stages; the head is for {LEVELS + 1}")
    head, leftovers = _head(state, parts)
    try:
        arguments = Mask2FormerConfig.of(head.weights)
    except (KeyError, IndexError) as error:
        raise KeyMismatch(f"its head lacks {error}, or it has another shape") from error
    except ValidationError as error:
        raise KeyMismatch(f"its head is none of Mask2Former: {first_problem(error)}") from error
    heads = config.get("num_attention_heads", arguments.heads)
    if heads != arguments.heads:
        raise KeyMismatch(f"its config.json says {heads} attention heads, its weights are of {arguments.heads}")
    network = Mask2FormerModel(backbone, **arguments.model_dump())
    check_fit(network.head.state_dict(), head.weights, head.unknown, head.origins)
    check_values(head.weights, head.origins)
    network.head.load_state_dict(head.weights)
    mean, std = huggingface.normalisation(preprocessor) or (IMAGENET_MEAN, IMAGENET_STD)
    return LoadedCheckpoint(
        network=network.eval(),
        task=network.task,
        format=NAME,
        classes=_classes(config, arguments.num_classes),
        mean=mean,
        std=std,
        ignored=(*parts.leftovers, *leftovers),
    )


def _head(state: Mapping[str, Tensor], backbone: BackboneState) -> tuple[BackboneState, list[str]]:
    """The head's weights by their names in `Mask2FormerHead`, and keys that are not needed."""
    head, leftovers = BackboneState(), []
    for key in backbone.outside:
        if _LEFTOVER.search(key):
            leftovers.append(key)
        elif (match := _HEAD.match(key)) is None:
            head.unknown.append(key)
        else:
            head.add(f"{_PARTS.get(match[1], match[1])}.{match[2]}", key, state[key])
    return head, leftovers


def _check_config(config: Mapping[str, Any]) -> None:
    swin = huggingface.backbone_config(config)
    if config.get("backbone") or swin.get("model_type", "swin") != "swin":
        kind = config.get("backbone") or swin["model_type"]
        raise CheckpointError(
            f"it is a Mask2Former whose backbone is {kind!r}; only those on a Swin Transformer ('swin') can be read"
        )
    huggingface.check_config({"backbone_config": {"model_type": "swin", **swin}})
    stages = swin.get("out_features") or _STAGES
    if stages != _STAGES:
        told = listing(map(str, stages), limit=4) if isinstance(stages, list) else str(stages)[:60]
        raise CheckpointError(f"its head reads {told} of the backbone; only all four can be read")
    other = [f"{k} {config[k]!r} (needs {v!r})" for k, v in _FIXED_CONFIG.items() if config.get(k, v) not in (v, None)]
    if other:
        raise CheckpointError(f"its config.json has {listing(other)}, which this head does not implement")


def _classes(config: Mapping[str, Any], count: int) -> tuple[ClassCard, ...]:
    """Names of the classes, in the order of their numbers."""
    names = config.get("id2label")
    if not isinstance(names, Mapping):
        logger.warning("there is no config.json that names the %d classes; they are numbered", count)
        names = {i: f"class {i}" for i in range(count)}
    by_number = {str(number): name for number, name in names.items()}
    missing = [str(i) for i in range(count) if str(i) not in by_number]
    if missing or len(by_number) != count:
        raise CheckpointError(
            f"its config.json names {len(by_number)} classes in id2label, its head has {count}; take the config.json "
            "that it was saved with"
        )
    try:
        return tuple(ClassCard(name=by_number[str(i)]) for i in range(count))
    except ValidationError as error:
        raise CheckpointError(f"its config.json has an invalid id2label: {first_problem(error)}") from error
