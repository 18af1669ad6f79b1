"""Names of an exported file's weights: those of the trained network (its `state_dict` keys).

Where export folds something into a weight, its name says so behind a colon: `backbone.norm0.bias` is the trained tensor
itself, `backbone.stages.0.blocks.0.attn.w_msa.qkv.weight:scaled` the joint weight, its query scaled, turned.
A convolution that a batch norm is folded into has its own name, and its bias that of the norm's. So reading a file back
is a look-up, whoever reads it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

import onnx
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.windows.geometry import PATCH_SIZE

from .folding import from_patches, unfold_bias, unfold_colours, unfold_merge, unfold_pixels, unfold_scale

#: Key in the file's metadata: JSON of the weights that the file has under another's name, because they are equal.
SHARED_KEY = "sparsevit_shared_weights"
#: Behind the name of a weight that is stored in half precision and reaches its readers through a cast.
HALF = "/half"
#: Before the name of a tensor of the deployed head that is no weight: places, shares. It stays in float32.
EXACT = "answers."

_BLOCK = r"(stages\.\d+\.blocks\.\d+)\."
#: Names within the deployed backbone (patterns), and within the trained one with their fold.
_BACKBONE = (
    (r"embed\.byte_projection\.(\w+)", r"patch_embed.projection.\1:bytes"),
    (r"embed\.projection\.(\w+)", r"patch_embed.projection.\1:pixels"),
    (r"embed\.norm\.(\w+)", r"patch_embed.norm.\1"),
    (_BLOCK + r"attention\.norm\.(\w+)", r"\1.norm1.\2"),
    (_BLOCK + r"attention\.qkv\.(\w+)", r"\1.attn.w_msa.qkv.\2:scaled"),
    (_BLOCK + r"attention\.([qkv])\.(\w+)", r"\1.attn.w_msa.qkv.\3:\2"),
    (_BLOCK + r"attention\.position_bias", r"\1.attn.w_msa.relative_position_bias_table:kinds"),
    (_BLOCK + r"attention\.proj\.weight", r"\1.attn.w_msa.proj.weight:turned"),
    (_BLOCK + r"attention\.proj\.bias", r"\1.attn.w_msa.proj.bias"),
    (_BLOCK + r"mlp\.norm\.(\w+)", r"\1.norm2.\2"),
    (_BLOCK + r"mlp\.expand\.weight", r"\1.ffn.layers.0.0.weight:turned"),
    (_BLOCK + r"mlp\.expand\.bias", r"\1.ffn.layers.0.0.bias"),
    (_BLOCK + r"mlp\.contract\.weight", r"\1.ffn.layers.1.weight:turned"),
    (_BLOCK + r"mlp\.contract\.bias", r"\1.ffn.layers.1.bias"),
    (r"(stages\.\d+)\.merge\.(\w+)\.(\w+)", r"\1.downsample.\2.\3:merged"),
    (r"maps\.(\d+)\.norm\.(\w+)", r"norm\1.\2"),
    (r"front\.byte_stem\.0\.(\w+)", r"front.features.stem.0.\1:colours"),
    (r"(front\..+)", r"\1"),
)


class FoldedNorm(nn.Identity):
    """Where a batch norm was that the convolution before it has taken in."""


def fold_norms(module: nn.Module) -> nn.Module:
    """Puts every batch norm, in eval mode, into the convolution before it; changes `module` and returns it."""
    for part in module.modules():
        if isinstance(part, nn.Sequential) and len(part) > 1 and isinstance(part[1], nn.BatchNorm2d):
            convolution = part[0]
            assert isinstance(convolution, nn.Conv2d)
            part[0] = fuse_conv_bn_eval(convolution, part[1])
            part[1] = FoldedNorm()
    return module


def name_weights(proto: onnx.ModelProto, model: nn.Module, backbone: str) -> None:
    """Renames the initialisers of a traced model, and records those that the tracer left out because another is equal.

    Args:
        proto: traced; changed in place.
        model: module that was traced, with the deployed backbone as `backbone` and the head's parts in `answers`.
        backbone: name of the backbone in the trained network, empty where it is the network.
    """
    graph = proto.graph
    tensors = {path: t for path, t in (*model.named_parameters(), *model.named_buffers()) if t.is_floating_point()}
    names = {path: _trained_name(path, backbone) for path in tensors}
    for path, module in model.named_modules():
        if isinstance(module, FoldedNorm):
            names[f"{path.rpartition('.')[0]}.0.bias"] = _trained_name(f"{path}.bias", backbone)
    for weight in graph.initializer:
        weight.name = names.get(weight.name, weight.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    present = {weight.name for weight in graph.initializer}
    by_content = {_content(tensors[path]): name for path, name in names.items() if name in present}
    shared = {
        name: by_content[content]
        for path, name in names.items()
        if name not in present and (content := _content(tensors[path])) in by_content
    }
    if shared:
        entry = proto.metadata_props.add()
        entry.key, entry.value = SHARED_KEY, json.dumps(shared)


def _trained_name(path: str, backbone: str) -> str:
    inside = path.removeprefix("backbone.")
    for pattern, name in _BACKBONE if inside != path else ():
        if (match := re.fullmatch(pattern, inside)) is not None:
            return f"{backbone}.".lstrip(".") + match.expand(name)
    return path.removeprefix(EXACT)


def _content(tensor: Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
    return tensor.dtype, tensor.shape, tensor.detach().contiguous().numpy().tobytes()


def trained_state(weights: Mapping[str, Tensor], card: ModelCard) -> dict[str, Tensor]:
    """The tensors of the trained network.

    Args:
        weights: float32, by their names in the file.
        card: card of the file.

    Returns:
        By `state_dict` key. What the file has beyond weights, such as constants, is among them under its own name.

    Raises:
        KeyError: a weight of several parts lacks one, or has a fold that this version does not know.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        key, _, fold = name.partition(":")
        parts.setdefault(key, {})[fold] = tensor.t() if fold and tensor.ndim == 2 else tensor  # as layers have it
    state = {}
    for key, folded in parts.items():
        match sorted(folded):
            case [""] | ["turned"]:
                (state[key],) = folded.values()
            case ["merged"]:
                state[key] = unfold_merge(folded["merged"])
            case ["scaled"]:
                state[key] = unfold_scale(folded["scaled"], _heads(key, card))
            case ["k", "q", "v"]:  # of files exported before there was one product
                state[key] = unfold_scale(torch.cat([folded[part] for part in "qkv"]), _heads(key, card))
            case ["kinds"]:
                state[key] = unfold_bias(folded["kinds"], card.windows.window_size)
            case [("bytes" | "pixels") as fold]:
                layer = key.rpartition(".")[0]
                weight, bias = f"{layer}.weight", f"{layer}.bias"
                state[weight], state[bias] = _pixels(parts[weight][fold], parts[bias][fold], card, fold)
            case ["colours"]:
                layer = key.rpartition(".")[0]
                names = f"{layer}.weight", f"{layer}.bias"
                kernel, offset = (parts[name]["colours"] for name in names)
                state.update(zip(names, unfold_colours(kernel, offset, card.input.mean, card.input.std), strict=True))
            case folds:
                raise KeyError(f"{key} in parts {', '.join(folds)}")
    return state


def _heads(key: str, card: ModelCard) -> int:
    stage = re.search(r"stages\.(\d{1,4})\.", key)
    return card.architecture.num_heads[int(stage[1])] if stage else 1


def _pixels(weight: Tensor, bias: Tensor, card: ModelCard, fold: str) -> tuple[Tensor, Tensor]:
    """Undoes ``bytes``, which has the mean in the bias, or ``pixels``: of other inputs than a camera's, and of files
    exported before, in which the mean was subtracted from an image that is padded."""
    if card.input.layout != "camera":
        return from_patches(weight), bias
    multiple = math.lcm(card.input.pad_multiple, PATCH_SIZE)
    padded = any(size % multiple for size in (card.input.height, card.input.width))
    return unfold_pixels(weight, bias, card.input.mean, card.input.std, centred=padded and fold == "pixels")
