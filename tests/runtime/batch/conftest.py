from __future__ import annotations

from pathlib import Path

import cv2
import pytest

import tiny
from clips import pictures, write_clip
from shared_files import made_once


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny segmentation model, written once."""
    return made_once(tmp_path_factory, "batch/tiny.onnx", tiny.write_model)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two clips, with a key frame every twelve, and five images; written once, not to be changed."""

    def write(folder: Path) -> None:
        (folder / "day").mkdir(parents=True)
        write_clip(folder / "day" / "long.mp4", 60, reordered=2)
        write_clip(folder / "short.mp4", 10)
        for i, image in enumerate(pictures(5)):
            cv2.imwrite(str(folder / f"{i}.png"), image)

    return made_once(tmp_path_factory, "batch/archive", write)
