"""Checkpoints of training: an exportable model, and everything needed to go on to the step."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from sparsevit_exporter.checkpoints import load_checkpoint
from sparsevit_runtime.errors import CheckpointError
from sparsevit_runtime.files import write_atomic

from .datasets import ClassInfo
from .models import TrainedModel
from .recipe import Recipe

FORMAT = "sparsevit-edge"
VERSION = 1


def model_document(
    model: TrainedModel, classes: tuple[ClassInfo, ...], recipe: Recipe, training: dict, metrics: list[dict]
) -> dict:
    """An exportable checkpoint of these weights; plain values and tensors only, so that it loads with weights_only."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "task": model.task,
        "config": {"backbone": model.backbone.config, "head": dict(model.head_config)},
        "classes": [{"name": c.name, "color": list(c.color)} for c in classes],
        "state_dict": {k: v.detach().cpu().clone() for k, v in model.state_dict().items()},
        "input": {
            "height": recipe.input.height,
            "width": recipe.input.width,
            "mean": list(recipe.input.mean),
            "std": list(recipe.input.std),
        },
        "training": {"recipe": recipe.name, "data": recipe.data_note, "licence": recipe.licence_note, **training},
        "metrics": metrics,
    }


def save_whole(document: dict, path: Path) -> None:
    """Writes a checkpoint; it is complete or absent, never half.

    Raises:
        SinkError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(document, buffer)
    write_atomic(path, buffer.getvalue())


def start_from(model: TrainedModel, path: str | Path) -> bool:
    """Copies a checkpoint's weights into a new model, for fine-tuning.

    The backbone must fit; the head is taken along when it is one of ours with as many classes. A convolutional front
    that the checkpoint lacks keeps its weights and adds nothing at first: the model begins as the checkpoint's.

    Args:
        model: receives the weights.
        path: any checkpoint that the exporter reads, an exported file, or the name of a bundled model.

    Returns:
        Whether the head was taken along.

    Raises:
        CheckpointError: the checkpoint cannot be read, or its backbone is of another architecture.
    """
    loaded = load_checkpoint(path)
    backbone = getattr(loaded.network, "backbone", loaded.network)
    front = model.backbone.front
    added = front if backbone.front is None else None
    expected = {k: v for k, v in model.backbone.config.items() if added is None or k != "front_width"}
    if backbone.config != expected:
        raise CheckpointError(
            f"{path} holds a backbone {backbone.config}, the recipe asks for {model.backbone.config}; change `model` "
            "in the recipe, or start from another checkpoint"
        )
    given = loaded.network.state_dict()
    prefix = "" if backbone is loaded.network else "backbone."
    if added is not None:
        added.add_nothing()
        given |= {f"{prefix}front.{name}": tensor for name, tensor in added.state_dict().items()}
    model.backbone.load_state_dict({k.removeprefix(prefix): v for k, v in given.items() if k.startswith(prefix)})
    if loaded.task != model.task or getattr(loaded.network, "head_config", None) != model.head_config:
        return False
    model.load_state_dict(given)
    return True


def load_for_resume(path: Path, device: torch.device) -> dict:
    """Reads what `adapt` wrote into ``last.pth``.

    Raises:
        CheckpointError: not readable, or not a training checkpoint.
    """
    try:
        document = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many types on a damaged file
        raise CheckpointError(
            f"{path} cannot be read ({error}); remove it to start over, or restore it from a copy"
        ) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or "resume" not in document:
        raise CheckpointError(f"{path} is not a training checkpoint of this project; remove it to start over")
    return document
