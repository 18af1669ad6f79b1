"""Models that come with the package."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).with_name("models")
#: Those whose answers in half precision agree with their own (`agreement.COMPARED`), which a test compares.
ALSO_IN_HALF = ("street-scenes",)


def bundled_models() -> dict[str, Path]:
    """Models that come with the package, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.onnx"))}


def is_bundled_in_half(path: Path) -> bool:
    """Whether a file is a bundled model that a GPU may compute in half precision."""
    return path.stem in ALSO_IN_HALF and path.absolute() == bundled_models().get(path.stem)
