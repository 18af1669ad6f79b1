"""The whole head: backbone maps to one class and one mask for each query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ... import ops
from .deformable import LEVELS
from .pixel_decoder import PixelDecoder
from .transformer_decoder import TransformerDecoder


class MaskPredictions(NamedTuple):
    """What the queries found.

    Attributes:
        class_logits: (B, Q, K + 1); the last is that a query found nothing.
        mask_logits: (B, Q, h, w) at stride 4.
        masked: where the queries' masks say that they do not look, (B, Q, N) bool of all layers in one; None where
            nobody has to know.
        look_again: function (where a graph's queries did not look) -> the same, had they looked there. A threshold
            decides where queries look, and what rounding turns there changes all that follows.
    """

    class_logits: Tensor
    mask_logits: Tensor
    masked: Tensor | None = None
    look_again: Callable[[Tensor], MaskPredictions] | None = None


class Mask2FormerHead(nn.Module):
    """Classes and masks of learned queries.

    Args:
        in_channels: channels of the backbone's four maps.
        num_classes: K; that there is nothing is not one of them.
        channels: width of the transformer decoder.
        feature_channels: width of the pixel decoder.
        mask_channels: width of the pixels' embeddings.
        queries: Q.
        heads: attention heads everywhere.
        encoder_layers, encoder_hidden: layers of the pixel decoder, and their hidden channels.
        decoder_layers, decoder_hidden: layers of the transformer decoder, and their hidden channels.
        project: the transformer decoder projects its maps although they have as many channels as it.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        num_classes: int,
        channels: int = 256,
        feature_channels: int = 256,
        mask_channels: int = 256,
        queries: int = 100,
        heads: int = 8,
        encoder_layers: int = 6,
        encoder_hidden: int = 1024,
        decoder_layers: int = 9,
        decoder_hidden: int = 2048,
        project: bool = False,
    ) -> None:
        super().__init__()
        self.pixel_decoder = PixelDecoder(
            in_channels, feature_channels, mask_channels, heads, encoder_layers, encoder_hidden
        )
        self.transformer_decoder = TransformerDecoder(
            feature_channels, channels, mask_channels, queries, heads, decoder_layers, decoder_hidden, project
        )
        self.class_predictor = nn.Linear(channels, num_classes + 1)

    def fix(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Makes what follows from the sizes of the backbone's maps, fine to coarse, for a trace to find it."""
        self.pixel_decoder.fix(sizes[:0:-1])
        self.transformer_decoder.fix(sizes[:0:-1])

    def forward(self, maps: Sequence[Tensor]) -> MaskPredictions:
        """(B, C_i, H_i, W_i) maps, fine to coarse -> classes and masks of the queries."""
        decoded, pixels = self.pixel_decoder(maps)
        return self._predict(decoded, pixels, None)

    def _predict(self, decoded: Sequence[Tensor], pixels: Tensor, masked: Tensor | None) -> MaskPredictions:
        sizes = [decoded[i % LEVELS].shape[2:].numel() for i in range(len(self.transformer_decoder.decoder.layers))]
        layers = None if masked is None else masked.split(sizes, -1)
        queries, embeddings, said = self.transformer_decoder(decoded, pixels, layers)
        masks = ops.matmul(embeddings, pixels.flatten(2))  # (B, Q, h*w)
        return MaskPredictions(
            self.class_predictor(queries),
            ops.reshape(masks, (0, 0, *pixels.shape[2:])),
            torch.cat(said, -1),
            lambda graphs: self._predict(decoded, pixels, graphs),
        )
