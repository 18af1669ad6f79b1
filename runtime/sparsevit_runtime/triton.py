"""What a model repository of a Triton server and its client agree on, beyond Triton's own protocol."""

from __future__ import annotations

import zlib

import numpy as np

#: How a model on a server is named: ``triton://host:port/name``, and ``/version`` behind it.
SCHEME = "triton://"
#: Parameters of the configuration: the model card as JSON, and the digest of the model file.
CARD_PARAMETER, DIGEST_PARAMETER = "sparsevit_card", "sparsevit_digest"
#: Lengths among which levels are told apart.
_LENGTHS = 1021


def is_served(model: object) -> bool:
    """Whether a model is one on a server."""
    return isinstance(model, str) and model.startswith(SCHEME)


def keep_rows(keep: np.ndarray, batch: int) -> np.ndarray:
    """`keep` as a batch of rows, (B, pairs and more) int64: for each frame the windows per block pair, then zeros.

    Triton joins requests whose inputs have one shape. With as many zeros as the level's checksum says requests of
    different levels have different shapes, and each is computed at its own. The graph reads the first `pairs` of each
    row, and takes the largest of them where rows differ.

    Args:
        keep: windows per block pair, (pairs,) int64.
        batch: frames of the request.
    """
    row = np.zeros(len(keep) + zlib.crc32(np.ascontiguousarray(keep, np.int64).tobytes()) % _LENGTHS, np.int64)
    row[: len(keep)] = keep
    return np.tile(row, (batch, 1))
