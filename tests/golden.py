"""The recorded outputs of the reference implementation, and the seeded weights and inputs they belong to."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("sparsevit_golden.npz")
ARCHITECTURE = {"embed_dim": 24, "depths": (2, 2, 6, 2), "num_heads": (1, 2, 4, 8), "window_size": 7}
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Case:
    name: str
    height: int
    width: int
    batch: int
    ratios: list[list[float]]
    weight_seed: int
    input_seed: int
    positions: list[np.ndarray]
    values: list[np.ndarray]
    kept: dict[tuple[int, int], np.ndarray]  # (stage, block) -> (B, k) ascending ids


def cases() -> list[Case]:
    with np.load(FILE) as archive:
        loaded = []
        for entry in json.loads(bytes(archive["cases"])):
            name = entry["name"]
            kept = {
                (i, j): archive[f"{name}/stage{i}.block{j}.kept"]
                for i, depth in enumerate(ARCHITECTURE["depths"])
                for j in range(depth)
                if f"{name}/stage{i}.block{j}.kept" in archive.files
            }
            loaded.append(
                Case(
                    name,
                    entry["height"],
                    entry["width"],
                    entry["batch"],
                    entry["ratios"],
                    entry["weight_seed"],
                    entry["input_seed"],
                    [archive[f"{name}/out{i}/positions"] for i in range(4)],
                    [archive[f"{name}/out{i}/values"] for i in range(4)],
                    kept,
                )
            )
        return loaded


def seeded_array(name: str, shape: tuple[int, ...], weight_seed: int) -> np.ndarray:
    """The value of parameter `name`, float32."""
    state = np.random.RandomState((weight_seed * 1000003 + zlib.crc32(name.encode())) % 2**32)
    v = state.standard_normal(shape).astype(np.float32)
    if name.endswith("relative_position_bias_table"):
        return np.float32(0.5) * v
    if "norm" in name:
        return 1 + np.float32(0.1) * v if name.endswith("weight") else np.float32(0.1) * v
    if name.endswith("bias"):
        return np.float32(0.1) * v
    gain = 0.5 if name.endswith(("attn.w_msa.proj.weight", "ffn.layers.1.weight")) else 1.0
    return (v * np.float32(gain / np.sqrt(v[0].size))).astype(np.float32)


def seeded_images(height: int, width: int, batch: int, input_seed: int) -> np.ndarray:
    """(B, 3, H, W) float32."""
    r = np.random.RandomState(input_seed)

    def up(t: np.ndarray, factor: int) -> np.ndarray:
        return t.repeat(factor, axis=-2).repeat(factor, axis=-1)[..., :height, :width].astype(np.float32)

    x = up(r.standard_normal((batch, 3, height // 16 + 1, width // 16 + 1)), 16)
    a = up(r.random_sample((batch, 1, height // 32 + 1, width // 32 + 1)), 32)
    noise = r.standard_normal((batch, 3, height, width)).astype(np.float32)
    return (x + np.float32(2) * a * noise).astype(np.float32)


def load_seeded_weights(module, weight_seed: int) -> None:
    """Fills the parameters of a reference-named torch module in place."""
    import torch

    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(seeded_array(name, tuple(parameter.shape), weight_seed)))
