"""A file that `export` wrote, read back into its network: to go on training from it, or to export it otherwise.

`deploy` folds the training names into what a graph computes with; here each fold is undone. The result is compared with
the file's own answers before anybody relies on it.
"""

from __future__ import annotations

from collections.abc import Iterator

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
from ..heads.detection import decode_detections
from ..heads.segmentation import decode_labels
from ..networks import HEADED_MODELS, DetectionModel
from .loaded import LoadedCheckpoint
from .states import KeyMismatch

NAME = "exported"
SUFFIX = ".onnx"
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)
#: Of values beyond it the shift mask's -100 has been added to a relative position bias.
_MASKED = -50.0
#: Share of the answers to a probe image in which network and file must agree, and how closely where they are numbers.
_AGREEMENT, _CLOSE = READ_BACK.within, READ_BACK.difference


def load(proto: onnx.ModelProto, card: ModelCard) -> LoadedCheckpoint:
    """Rebuilds the network of an exported file.

    Batch norms were folded into the convolutions before them and come back as ones that change nothing. A detector's
    auxiliary branch is not in the file; it comes back as a copy of the one that is.

    Args:
        proto, card: as `card_file.open_exported` gives them.

    Raises:
        CheckpointError: its plan is fixed, or its weights cannot be told.
    """
    if card.windows.fixed is not None:
        raise CheckpointError("it has a fixed plan, and blocks that compute nothing have no weights; export without it")
    network = _network(_Graph(proto.graph), card)
    agreement = _agreement(proto, network, card)
    if not agreement >= _AGREEMENT:  # false for NaN too
        raise KeyMismatch(
            f"the network read from it agrees with it in {agreement:.1%} of its answers; use its checkpoint instead"
        )
    about = {} if card.training is None else card.training.model_dump(exclude_none=True)
    return LoadedCheckpoint(
        network=network,
        task=card.task,
        format=NAME,
        classes=card.classes,
        mean=card.input.mean,
        std=card.input.std,
        input_hw=(card.input.height, card.input.width),
        training=about,
    )


def _network(graph: _Graph, card: ModelCard) -> nn.Module:
    about = card.architecture
    backbone = SparseViT(about.embed_dim, card.windows.depths, about.num_heads, card.windows.window_size)
    network: nn.Module = backbone
    if card.task != "backbone":
        network = HEADED_MODELS[card.task](backbone, len(card.classes), _head_channels(graph))
    try:
        state = dict(_backbone_state(graph, backbone, card))
        if network is not backbone:
            state = {f"backbone.{name}": tensor for name, tensor in state.items()}
            state.update(_head_state(graph, network))
        network.load_state_dict({**network.state_dict(), **state})
    except (KeyError, ValueError, RuntimeError) as error:  # a generator turns StopIteration into RuntimeError
        raise KeyMismatch(
            f"its weights are not where this version writes them ({error}); use the checkpoint it was made of"
        ) from error
    if isinstance(network, DetectionModel):
        network.head.one_to_many.load_state_dict(network.head.one_to_one.state_dict())
    return network.eval()


class _Graph:
    """The float weights of a graph, as float32: by name, and in the order in which they are used.

    Attributes:
        named: whether stored in half precision or not.
        matrices: (in, out) factors of the matrix products.
        maps: those of three or more axes that are no filters: the attention biases are among them.
        filters: weight and bias of each convolution, by the name of its weight.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        stored = {w.name: w for w in graph.initializer if w.data_type in _FLOATS}
        sources = {name: name for name in stored}
        for node in graph.node:  # a weight in half precision reaches its user through a cast
            if node.op_type == "Cast" and node.input[0] in stored:
                sources[node.output[0]] = node.input[0]
        self.named = {name: _tensor(stored[source]) for name, source in sources.items()}
        self.matrices: list[Tensor] = []
        self.maps: list[Tensor] = []
        self.filters: dict[str, tuple[Tensor, Tensor]] = {}
        seen = set()
        for node in graph.node:
            used = [name for name in node.input if name in self.named]
            if not used or node.op_type == "Cast":
                continue
            if node.op_type == "MatMul":
                self.matrices.append(self.named[used[0]])
            elif node.op_type == "Conv":
                weight, *bias = (self.named[name] for name in used)
                self.filters[used[0]] = (weight, *bias)
            elif used[0] not in seen and self.named[used[0]].ndim > 2:
                seen.add(used[0])
                self.maps.append(self.named[used[0]])


def _tensor(weight: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(numpy_helper.to_array(weight).astype(np.float32))


def _backbone_state(graph: _Graph, net: SparseViT, card: ModelCard) -> Iterator[tuple[str, Tensor]]:
    """Training names and tensors of the backbone; KeyError or StopIteration where the graph has something else."""
    named, matrices = graph.named, iter(graph.matrices)
    yield from _patch_embedding(next(matrices), named, net, card)
    tokens = net.window_size**2
    biases = (m.reshape(-1, *m.shape[-3:]) for m in graph.maps if tuple(m.shape[-2:]) == (tokens, tokens))
    for i, stage in enumerate(net.stages):
        for j, block in enumerate(stage.blocks):
            ours, theirs = f"stages.{i}.blocks.{j}", f"backbone.stages.{i}.blocks.{j}"
            attention, scale = f"{ours}.attn.w_msa", block.attn.w_msa.head_dim**-0.5
            q, k, v, proj, expand, contract = (next(matrices).t() for _ in range(6))
            yield f"{attention}.qkv.weight", torch.cat([q / scale, k, v])
            q, k, v = (named[f"{theirs}.{name}_bias"] for name in "qkv")
            yield f"{attention}.qkv.bias", torch.cat([q / scale, k, v])
            yield f"{attention}.relative_position_bias_table", _bias_table(next(biases), block.attn.w_msa)
            for name, weight, bias in (
                (f"{attention}.proj", proj, "proj"),
                (f"{ours}.ffn.layers.0.0", expand, "expand"),
                (f"{ours}.ffn.layers.1", contract, "contract"),
            ):
                yield f"{name}.weight", weight
                yield f"{name}.bias", named[f"{theirs}.{bias}.bias"]
            for name in ("norm1", "norm2"):
                for part in ("weight", "bias"):
                    yield f"{ours}.{name}.{part}", named[f"{theirs}.{name}.{part}"]
        if stage.downsample is not None:
            yield from _merging(next(matrices), named, i)
    for i in range(len(net.stages)):
        for part in ("weight", "bias"):
            if f"backbone.norms.{i}.{part}" in named:  # a head may leave a map unused
                yield f"norm{i}.{part}", named[f"backbone.norms.{i}.{part}"]
    if next(matrices, None) is not None:
        raise KeyError("more matrices than blocks")


def _patch_embedding(
    matrix: Tensor, named: dict[str, Tensor], net: SparseViT, card: ModelCard
) -> Iterator[tuple[str, Tensor]]:
    mean, std = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (card.input.mean, card.input.std))
    weight = matrix.t().double().unflatten(1, (*net.patch_embed.projection.kernel_size, 3)).permute(0, 3, 1, 2)
    if card.input.layout == "camera":
        weight = weight.flip(1) * std  # RGB
    bias = named.get("backbone.patch_embed.bias_centred")
    if bias is None:
        bias = named["backbone.patch_embed.bias_folded"].double() + (weight / std * mean).sum((1, 2, 3))
    yield "patch_embed.projection.weight", weight.float()
    yield "patch_embed.projection.bias", bias.float()
    for part in ("weight", "bias"):
        yield f"patch_embed.norm.{part}", named[f"backbone.patch_embed.norm.{part}"]


def _bias_table(bias: Tensor, attention: nn.Module) -> Tensor:
    """((2*w - 1)**2, h) from (kinds, h, T, T): in some kind, or at some pair, most offsets are not masked."""
    index = attention.relative_position_index.flatten()
    values = bias.amax(0).flatten(1).t()  # (T*T, h)
    table = torch.full_like(attention.relative_position_bias_table, -torch.inf)
    table = table.scatter_reduce(0, index[:, None].expand_as(values), values, "amax")
    return torch.where(table < _MASKED, table + 100.0, table)


def _merging(matrix: Tensor, named: dict[str, Tensor], stage: int) -> Iterator[tuple[str, Tensor]]:
    channels = matrix.shape[0] // 4

    def reordered(folded: Tensor) -> Tensor:
        """From g * C + c to c * 4 + g along the last axis; see `deploy.DeployedMerging`."""
        return folded.unflatten(-1, (4, channels)).transpose(-1, -2).flatten(-2)

    yield f"stages.{stage}.downsample.reduction.weight", reordered(matrix.t())
    for part in ("weight", "bias"):
        folded = named[f"backbone.stages.{stage}.downsample.norm_{part}"]
        yield f"stages.{stage}.downsample.norm.{part}", reordered(folded)


def _head_channels(graph: _Graph) -> int:
    classifiers = [weight for name, (weight, *_) in graph.filters.items() if name.endswith("classify.weight")]
    if not classifiers:
        raise KeyMismatch("it has no classifier where this version writes one; use its checkpoint")
    return classifiers[0].shape[1]


def _head_state(graph: _Graph, network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Convolutions with the norms in them, and norms that do nothing."""
    for name, module in network.head.named_modules():
        prefix = f"head.{name}"
        if name.startswith("one_to_many"):
            continue
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            yield f"{prefix}.weight", graph.filters[f"{prefix}.weight"][0]
            yield f"{prefix}.bias", graph.filters[f"{prefix}.weight"][1]
        elif isinstance(module, nn.BatchNorm2d):
            convolution = f"{prefix.rpartition('.')[0]}.0.weight"
            weight, bias = graph.filters[convolution]
            yield convolution, weight
            yield f"{prefix}.weight", torch.ones_like(bias)
            yield f"{prefix}.bias", bias
            yield f"{prefix}.running_mean", torch.zeros_like(bias)
            yield f"{prefix}.running_var", torch.full_like(bias, 1.0 - module.eps)


@torch.inference_mode()
def _agreement(proto: onnx.ModelProto, network: nn.Module, card: ModelCard) -> float:
    """Share of a probe image's answers, with all windows, in which network and file agree."""
    frames = parity.probe_images(card.input, [0])
    session = parity.open_session(proto)
    names = [o.name for o in session.get_outputs()]
    values = session.run(names, parity.feed_of(frames, card.input, parity.record_keeps(card.stages)[0]))
    found = {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}
    answer = network(parity.normalize(frames, card.input))
    height, width = card.input.height, card.input.width
    if card.task == "segmentation":
        labels = found["labels"]
        scale = round(4 * labels.shape[1] / height)  # labels per logit
        return float((decode_labels(answer, scale, *labels.shape[1:]) == labels).float().mean())
    if card.task == "detection":
        _, scores, _ = decode_detections(answer, found["scores"].shape[1], height, width)
        return float(((scores - found["scores"]).abs() < _CLOSE).float().mean())
    shares = [((m - found[f"stage{i}"]).abs() < _CLOSE * m.abs().max()).float().mean() for i, m in enumerate(answer)]
    return float(min(shares))
