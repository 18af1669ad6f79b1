"""Transformer decoder: queries that look at the part of the image which they have found so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import map_ops, ops
from .deformable import LEVELS
from .positions import Positions

#: Score of a place that a query does not look at: nothing of it is left behind the softmax, which is float32.
_MASKED = -1e9


def _attend(q: Tensor, k: Tensor, v: Tensor, heads: int, masked: Tensor | None = None) -> Tensor:
    """Attention of several heads.

    Args:
        q: (B, Q, C), or (Q, C) where it is the same for all images.
        k, v: (B, N, C).
        heads: C divides into them.
        masked: (B, Q, N) bool, where not to look; None to look everywhere.

    Returns:
        (B, Q, C).
    """
    head_dim = k.shape[2] // heads
    q = ops.reshape(q * head_dim**-0.5, (*([0] * (q.ndim - 1)), heads, head_dim)).transpose(-3, -2)  # (B, h, Q, d)
    k = ops.reshape(k, (0, 0, heads, head_dim)).permute(0, 2, 3, 1)  # (B, h, d, N)
    v = ops.reshape(v, (0, 0, heads, head_dim)).transpose(1, 2)  # (B, h, N, d)
    scores = ops.matmul(q, k).float()  # (B, h, Q, N); softmax in float32
    if masked is not None:
        scores = scores.masked_fill(masked.unsqueeze(1), _MASKED)
    out = ops.matmul(scores.softmax(-1).to(v.dtype), v)  # (B, h, Q, d)
    return ops.reshape(out.transpose(1, 2), (0, 0, heads * head_dim))


class _SelfAttention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(channels, channels) for _ in range(4))

    def forward(self, queries: Tensor, places: Tensor) -> Tensor:
        """(B, Q, C) and their learned places (Q, C) -> (B, Q, C)."""
        asking = queries + places
        return self.out_proj(_attend(self.q_proj(asking), self.k_proj(asking), self.v_proj(queries), self.heads))


class _CrossAttention(nn.Module):
    """Parameters are those of `torch.nn.MultiheadAttention`; deployed, they are three matrices."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, masked: Tensor) -> Tensor:
        """(B, Q, C) or (Q, C), (B, N, C) twice, (B, Q, N) bool where not to look -> (B, Q, C)."""
        width = self.out_proj.in_features
        parts = [slice(i * width, (i + 1) * width) for i in range(3)]  # query, key, value
        q, k, v = (
            F.linear(x, self.in_proj_weight[part], self.in_proj_bias[part])
            for x, part in zip((queries, keys, values), parts, strict=True)
        )
        return self.out_proj(_attend(q, k, v, self.heads, masked))


class DecoderLayer(nn.Module):
    """Attention to the image where the query's mask is, attention among queries, two layers on each; norms follow."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = _SelfAttention(channels, heads)
        self.self_attn_layer_norm = nn.LayerNorm(channels)
        self.cross_attn = _CrossAttention(channels, heads)
        self.cross_attn_layer_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.final_layer_norm = nn.LayerNorm(channels)

    def forward(self, queries: Tensor, places: Tensor, keys: Tensor, values: Tensor, masked: Tensor) -> Tensor:
        """(B, Q, C) or (Q, C), the queries' places (Q, C), a map's tokens (B, N, C) with and without their places, and
        where not to look (B, Q, N) bool -> (B, Q, C)."""
        queries = self.cross_attn_layer_norm(queries + self.cross_attn(queries + places, keys, values, masked))
        queries = self.self_attn_layer_norm(queries + self.self_attn(queries, places))
        return self.final_layer_norm(queries + self.fc2(F.relu(self.fc1(queries))))


class _MaskPredictor(nn.Module):
    """Three layers from a query to the embedding that its pixels have."""

    def __init__(self, channels: int, mask_channels: int) -> None:
        super().__init__()
        widths = ((channels, channels), (channels, channels), (channels, mask_channels))
        self.mask_embedder = nn.ModuleList(nn.Sequential(nn.Linear(*w)) for w in widths)

    def forward(self, queries: Tensor) -> Tensor:
        """(..., Q, C) -> (..., Q, M)."""
        first, second, last = self.mask_embedder
        return last(F.relu(second(F.relu(first(queries)))))


class _Layers(nn.Module):
    """The decoder proper, under its name in checkpoints."""

    def __init__(self, channels: int, mask_channels: int, heads: int, layers: int, hidden: int) -> None:
        super().__init__()
        made = nn.ModuleList(DecoderLayer(channels, heads, hidden) for _ in range(layers))
        self.layers = cast("Sequence[DecoderLayer]", made)  # PyTorch's list does not say of what
        self.layernorm = nn.LayerNorm(channels)
        self.mask_predictor = _MaskPredictor(channels, mask_channels)

    def embed(self, queries: Tensor) -> Tensor:
        """(..., Q, C) -> embeddings of the queries' masks (..., Q, M)."""
        return self.mask_predictor(self.layernorm(queries))


class TransformerDecoder(nn.Module):
    """Learned queries, refined layer by layer on the maps at strides 32, 16, 8, 32, ...

    Args:
        in_channels: channels of the pixel decoder's maps.
        channels: C, width of the decoder.
        mask_channels: M, width of the pixels' embeddings.
        queries: Q.
        heads, layers, hidden: numbers of the decoder.
        project: maps are projected although they have C channels.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        mask_channels: int,
        queries: int,
        heads: int,
        layers: int,
        hidden: int,
        project: bool,
    ) -> None:
        super().__init__()
        self.positions = Positions(channels)
        self.queries_embedder = nn.Embedding(queries, channels)
        self.queries_features = nn.Embedding(queries, channels)
        projected = project or in_channels != channels
        self.input_projections = nn.ModuleList(
            nn.Conv2d(in_channels, channels, 1) if projected else nn.Sequential() for _ in range(LEVELS)
        )
        self.level_embed = nn.Embedding(LEVELS, channels)
        self.decoder = _Layers(channels, mask_channels, heads, layers, hidden)

    def fix(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Makes what follows from the sizes of the three maps, for a trace to find it."""
        self.positions.fix(sizes)

    def forward(
        self, maps: Sequence[Tensor], pixels: Tensor, masked: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Decodes.

        Args:
            maps: (B, C_in, H_i, W_i) at strides 32, 16, 8.
            pixels: (B, M, H, W) embeddings of the pixels at stride 4.
            masked: where the queries do not look, layer by layer, (B, Q, N) bool each; as their masks say when None.

        Returns:
            Queries behind the last norm (B, Q, C), embeddings of their masks (B, Q, M), and where their masks say in
            each layer that they do not look.
        """
        values, keys, looks = [], [], []
        for i, feature_map in enumerate(maps):
            height, width = feature_map.shape[2:]
            tokens = self.input_projections[i](feature_map).flatten(2).transpose(1, 2)  # (B, N, C)
            values.append(tokens + self.level_embed.weight[i])
            keys.append(values[-1] + self.positions(height, width, feature_map))
            # Masks are linear in the pixels' embeddings: those are resized once, not the masks of every layer.
            looks.append(map_ops.resize(pixels, height, width).flatten(2))  # (B, M, N)
        queries, places = self.queries_features.weight, self.queries_embedder.weight  # (Q, C), as yet of no image
        said = []
        for i, layer in enumerate(self.decoder.layers):
            level = i % LEVELS
            said.append(_masked(self.decoder.embed(queries), looks[level]))  # (B, Q, N)
            queries = layer(queries, places, keys[level], values[level], said[-1] if masked is None else masked[i])
        return self.decoder.layernorm(queries), self.decoder.embed(queries), said


def _masked(embeddings: Tensor, pixels: Tensor) -> Tensor:
    """Where the queries do not look: outside of their masks; a query without a mask looks everywhere.

    Args:
        embeddings: (B, Q, M) or (Q, M).
        pixels: (B, M, N).

    Returns:
        (B, Q, N) bool.
    """
    logits = ops.matmul(embeddings, pixels).float()  # (B, Q, N)
    # The largest logit of a query tells whether there is a place to look at.
    return (logits < 0) & (logits.amax(-1, keepdim=True) >= 0)
