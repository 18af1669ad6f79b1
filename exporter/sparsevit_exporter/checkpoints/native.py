"""This project's own training checkpoints: a network, its classes, its input and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from sparsevit_runtime.card import ClassCard, MetricCard
from sparsevit_runtime.errors import CheckpointError

from ..tasks import Task, task_of
from . import reference
from .architecture import build_backbone, check_values, infer_config
from .loaded import LoadedCheckpoint
from .states import KeyMismatch, check_fit, check_plain, listing, unwrap

NAME = "native"
MAGIC = "sparsevit-edge"
VERSION = 1

_Positive = Annotated[int, Field(ge=1)]
_Scale = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Backbone(_Part):
    embed_dim: _Positive
    depths: tuple[_Positive, ...]
    num_heads: tuple[_Positive, ...]
    window_size: _Positive
    front_width: Annotated[int, Field(ge=0)] = 0


class _Config(_Part):
    backbone: _Backbone
    head: dict[str, Any] | None = None


class _Input(_Part):
    height: _Positive | None = None
    width: _Positive | None = None
    mean: tuple[float, float, float]
    std: tuple[_Scale, _Scale, _Scale]


class _Header(_Part):
    version: Literal[1]
    task: str
    config: _Config
    input: _Input
    classes: tuple[ClassCard, ...] = ()
    training: dict[str, Any] = {}
    metrics: tuple[MetricCard, ...] = ()


def matches(raw: Mapping[str, Any]) -> bool:
    """Whether a raw checkpoint says it is one of ours."""
    return raw.get("format") == MAGIC


def load(raw: Mapping[str, Any], overrides: Mapping[str, Any] | None = None) -> LoadedCheckpoint:
    """Rebuilds the network the file describes.

    Args:
        raw: root dictionary of the file.
        overrides: arguments as for `build_backbone`.

    Raises:
        CheckpointError: a newer version, an invalid header, or weights that do not fit it.
    """
    header = _header(raw)
    state = unwrap({"state_dict": raw.get("state_dict", {})})
    parts = reference.convert(state)
    inferred, recorded = _Backbone.model_validate(infer_config(parts.weights)), header.config.backbone
    if inferred != recorded:
        raise KeyMismatch(f"its weights are of {inferred.model_dump()}, its config says {recorded.model_dump()}")
    task = task_of(header.task)
    network = task.build(build_backbone(parts, overrides), _head_of(task, header))
    weights = {key: state[key] for key in parts.outside}
    if task.head_config is None and weights:
        raise KeyMismatch(f"its task is {task.name}, yet it has {listing(weights)}")
    _load_head(network, task, weights)
    return LoadedCheckpoint(
        network=network.eval(),
        task=task.name,
        format=NAME,
        classes=header.classes,
        mean=header.input.mean,
        std=header.input.std,
        input_hw=(header.input.height, header.input.width) if header.input.height and header.input.width else None,
        training=header.training,
        metrics=header.metrics,
    )


def _header(raw: Mapping[str, Any]) -> _Header:
    version = raw.get("version")
    if isinstance(version, int) and version > VERSION:
        raise CheckpointError(
            f"it has version {version} of our format, this version reads up to {VERSION}; upgrade sparsevit-edge"
        )
    try:
        header = _Header.model_validate({k: v for k, v in raw.items() if k in _Header.model_fields})
    except ValidationError as error:
        raise _invalid(error) from error
    return header


def _head_of(task: Task[Any], header: _Header) -> dict[str, Any]:
    """What rebuilds the head; empty where the task has none."""
    if task.head_config is None:
        return {}
    if header.config.head is None:
        raise CheckpointError(f"its task is {task.name}, but its config has no head; save it again")
    try:
        head = task.head_config.model_validate(header.config.head)
    except ValidationError as error:
        raise _invalid(error, "config", "head") from error
    if len(header.classes) != head.num_classes:
        raise CheckpointError(f"it names {len(header.classes)} classes, its head has {head.num_classes}; save it again")
    return head.model_dump()


def _load_head(network: nn.Module, task: Task[Any], weights: dict[str, torch.Tensor]) -> None:
    """Loads all weights beside those of the backbone, which the network has already."""
    backbone = {id(tensor) for tensor in task.backbone_of(network).state_dict(keep_vars=True).values()}
    own = {name: t for name, t in network.state_dict(keep_vars=True).items() if id(t) not in backbone}
    for name, tensor in weights.items():
        check_plain(name, tensor)
    check_fit(own, weights)
    check_values(weights, {})
    network.load_state_dict(weights, strict=False)


def _invalid(error: ValidationError, *path: str) -> CheckpointError:
    first = error.errors()[0]
    where = ".".join(str(p) for p in (*path, *first["loc"]))
    return CheckpointError(
        f"its header is invalid: {where}: {first['msg']} ({error.error_count()} problem(s)); save it again "
        "with this version"
    )
