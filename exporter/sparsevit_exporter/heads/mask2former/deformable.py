"""Multi-scale deformable attention (Zhu et al., "Deformable DETR"), with the sampling that ONNX has: GridSample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ... import ops

#: Maps that are attended to, at strides 32, 16 and 8, and points in each of them.
LEVELS = 3
POINTS = 4


class DeformableAttention(nn.Module):
    """Each token looks at a few points of each map, where and how much it decides itself.

    Args:
        channels: C.
        heads: heads; C divides into them.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, channels // heads
        self.sampling_offsets = nn.Linear(channels, heads * LEVELS * POINTS * 2)
        self.attention_weights = nn.Linear(channels, heads * LEVELS * POINTS)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor, positions: Tensor, centres: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """Attends.

        Args:
            tokens: (B, N, C), the tokens of all maps, row by row.
            positions: (N, C), added to what asks, not to what answers.
            centres: (N, 1, 2) float32, see `centres_of`.
            sizes: rows and columns of each map.

        Returns:
            (B, N, C).
        """
        values = self.value_proj(tokens)  # (B, N, C)
        asking = tokens + positions
        # Places, their weights and what is read there are float32 in every graph: half precision tells no places apart
        # that lie closer than a sixteenth of a token, and TensorRT samples maps of the places' own type only.
        split = (0, 0, self.heads, LEVELS, POINTS * 2)
        offsets = ops.reshape(self.sampling_offsets(asking).float(), split).permute(0, 2, 1, 3, 4)  # (B, h, N, l, p*2)
        weights = ops.reshape(self.attention_weights(asking).float(), (0, 0, self.heads, LEVELS * POINTS)).softmax(-1)
        weights = ops.reshape(weights, (0, 0, self.heads, LEVELS, POINTS)).permute(0, 2, 1, 3, 4)  # (B, h, N, l, p)
        count = centres.shape[0]
        parts, first = [], 0
        for level, (height, width) in enumerate(sizes):
            value = values[:, first : first + height * width].float()  # (B, n, C)
            value = ops.reshape(value, (0, height, width, self.heads, self.head_dim)).permute(0, 3, 4, 1, 2)
            value = ops.reshape(value, (-1, self.head_dim, height, width))  # (B*h, d, H, W)
            places = ops.reshape(offsets[:, :, :, level], (-1, count, POINTS, 2))  # (B*h, N, p, 2) in tokens
            places = places * torch.tensor([2.0 / width, 2.0 / height], device=places.device) + centres
            read = F.grid_sample(value, places, mode="bilinear", padding_mode="zeros", align_corners=False)
            weight = ops.reshape(weights[:, :, :, level], (-1, 1, count, POINTS))
            parts.append((read * weight).sum(-1))  # (B*h, d, N)
            first += height * width
        joined = ops.reshape(parts[0] + parts[1] + parts[2], (-1, self.heads * self.head_dim, count))
        return self.output_proj(joined.transpose(1, 2).to(tokens.dtype))


def centres_of(sizes: Sequence[tuple[int, int]]) -> Tensor:
    """Centres of the tokens of maps, row by row, in GridSample's coordinates from -1 to 1.

    Args:
        sizes: rows and columns of each map.

    Returns:
        (N, 1, 2) float32, x and y.
    """
    centres = []
    for height, width in sizes:
        y, x = torch.meshgrid(
            (torch.arange(height, dtype=torch.float32) + 0.5) / height,
            (torch.arange(width, dtype=torch.float32) + 0.5) / width,
            indexing="ij",
        )
        centres.append(torch.stack([x, y], -1).reshape(-1, 1, 2) * 2.0 - 1.0)
    return torch.cat(centres)


class EncoderLayer(nn.Module):
    """Deformable attention over all maps, and two layers on each token; norms follow."""

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(channels, heads)
        self.self_attn_layer_norm = nn.LayerNorm(channels)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)
        self.final_layer_norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, positions: Tensor, centres: Tensor, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """(B, N, C), arguments as of `DeformableAttention` -> (B, N, C)."""
        tokens = self.self_attn_layer_norm(tokens + self.self_attn(tokens, positions, centres, sizes))
        return self.final_layer_norm(tokens + self.fc2(F.relu(self.fc1(tokens))))
