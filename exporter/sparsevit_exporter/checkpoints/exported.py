"""A file that `export` wrote, read back into its network: to go on training from it, or to export it otherwise.

Its weights have the network's own names, and say what was folded into them (`weights`). The result is compared with the
file's own answers before anybody relies on it.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from sparsevit_runtime.agreement import READ_BACK
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import CheckpointError

from .. import parity
from ..backbone import SparseViT
from ..front import black_pixel
from ..tasks import Task, task_of
from ..weights import HALF, SHARED_KEY, trained_state
from . import earlier
from .loaded import LoadedCheckpoint
from .states import KeyMismatch, listing

NAME = "exported"
SUFFIX = ".onnx"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def load(proto: onnx.ModelProto, card: ModelCard) -> LoadedCheckpoint:
    """Rebuilds the network of an exported file.

    Batch norms were folded into the convolutions before them and come back as ones that change nothing. A detector's
    auxiliary branch is not in the file; it comes back as a copy of the one that is.

    Args:
        proto, card: model and card as `card_file.open_exported` gives them.

    Raises:
        CheckpointError: its plan is fixed, or its weights cannot be told.
    """
    if card.windows.fixed is not None:
        raise CheckpointError("it has a fixed plan, and blocks that compute nothing have no weights; export without it")
    task = task_of(card.task)
    network = _network(proto, card, task)
    agreement = _agreement(proto, network, card, task)
    if not agreement >= READ_BACK.within:  # false for NaN too
        raise KeyMismatch(
            f"the network read from it agrees with it in {agreement:.1%} of its answers; use its checkpoint instead"
        )
    about = {} if card.training is None else card.training.model_dump(exclude_none=True)
    return LoadedCheckpoint(
        network=network,
        task=task.name,
        format=NAME,
        classes=card.classes,
        mean=card.input.mean,
        std=card.input.std,
        input_hw=(card.input.height, card.input.width),
        training=about,
    )


def _network(proto: onnx.ModelProto, card: ModelCard, task: Task[Any]) -> nn.Module:
    about = card.architecture
    width = 0 if about.front is None else about.front.width
    try:
        backbone = SparseViT(
            about.embed_dim, card.windows.depths, about.num_heads, card.windows.window_size, front_width=width
        )
        state = trained_state(_weights(proto, card, task), card)
        network = task.build(backbone, task.head_in_file(card, state))
        optional = _neutralise_norms(network)
        if backbone.front is not None:
            backbone.front.features.black.copy_(black_pixel(card.input.mean, card.input.std))
        expected = network.state_dict()
        network.load_state_dict({**expected, **{name: t for name, t in state.items() if name in expected}})
    except (KeyError, IndexError, RuntimeError, ValueError) as error:
        raise _misplaced(str(error)) from error
    if missing := [name for name in expected if name not in state and not optional.search(name)]:
        raise _misplaced(f"it has no {listing(missing)}")
    # More blocks than the card says would leave a network that is not the file's.
    if extra := [name for name in state if name not in expected and ".blocks." in name]:
        raise _misplaced(f"its card leaves no place for {listing(extra)}")
    return network.eval()


def _neutralise_norms(network: nn.Module) -> re.Pattern[str]:
    """Makes batch norms change nothing, as a convolution has taken them in; returns which names a file may lack."""
    norms = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for _, norm in norms:
        assert norm.running_var is not None
        norm.running_var.fill_(1.0 - norm.eps)
    kept = "|".join(rf"{re.escape(name)}\.(?!bias)" for name, _ in norms)
    unused_map = r"(backbone\.)?norm\d+\."
    return re.compile(rf"relative_position_index$|\.black$|^{unused_map}" + (rf"|^({kept})" if kept else ""))


def _misplaced(what: str) -> KeyMismatch:
    return KeyMismatch(
        f"its weights are not where this version writes them ({what}); use the checkpoint it was made of"
    )


def _weights(proto: onnx.ModelProto, card: ModelCard, task: Task[Any]) -> dict[str, Tensor]:
    """The file's float tensors by name, as float32."""
    stored = {w.name.removesuffix(HALF): w for w in proto.graph.initializer if w.data_type in _FLOATS}
    weights = {name: torch.from_numpy(numpy_helper.to_array(w).astype(np.float32)) for name, w in stored.items()}
    if earlier.matches(weights):
        prefix = "" if task.head_config is None else "backbone."
        return earlier.renamed(proto.graph, weights, card.windows.depths, card.windows.window_size, prefix)
    shared: dict[str, str] = next((json.loads(p.value) for p in proto.metadata_props if p.key == SHARED_KEY), {})
    return {**weights, **{name: weights[same] for name, same in shared.items()}}


@torch.inference_mode()
def _agreement(proto: onnx.ModelProto, network: nn.Module, card: ModelCard, task: Task[Any]) -> float:
    """Share of a probe image's answers, with all windows, in which network and file agree."""
    frames = parity.probe_images(card.input, [0])
    session = parity.open_session(proto)
    names = [o.name for o in session.get_outputs()]
    values = session.run(names, parity.feed_of(frames, card.input, parity.record_keeps(card.stages)[0]))
    found = {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
    return task.agreement(network(parity.normalize(frames, card.input)), found, card)
