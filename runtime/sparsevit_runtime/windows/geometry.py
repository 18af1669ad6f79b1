"""Window geometry: how a frame size becomes tokens, stages and windows.

One place computes it; the exporter builds constants from it and the runtime checks `keep` against it.
"""

from __future__ import annotations

from dataclasses import dataclass

PATCH_SIZE = 4


@dataclass(frozen=True)
class StageGeometry:
    """Token map of one stage and the windows that tile it.

    Attributes:
        height, width: token map, before padding.
        window_size: tokens along one side of a window.
        depth: blocks in the stage.
    """

    height: int
    width: int
    window_size: int
    depth: int

    @property
    def windows_hw(self) -> tuple[int, int]:
        """Rows and columns of windows on the padded map."""
        return -(-self.height // self.window_size), -(-self.width // self.window_size)

    @property
    def padded_hw(self) -> tuple[int, int]:
        rows, columns = self.windows_hw
        return rows * self.window_size, columns * self.window_size

    @property
    def is_padded(self) -> bool:
        return self.padded_hw != (self.height, self.width)

    @property
    def windows(self) -> int:
        """Number of windows nW of the padded map; the same for shifted and unshifted blocks."""
        rows, columns = self.windows_hw
        return rows * columns

    @property
    def pairs(self) -> int:
        """Block pairs (one unshifted and one shifted block each); a last odd block is a pair of its own."""
        return -(-self.depth // 2)

    @property
    def shift(self) -> int:
        """Tokens by which odd blocks are shifted."""
        return self.window_size // 2


def stage_geometries(
    height: int, width: int, depths: tuple[int, ...] | list[int], window_size: int
) -> tuple[StageGeometry, ...]:
    """Token maps of all stages for a frame of (height, width) pixels.

    The patch embedding rounds up to whole 4x4 patches, each merge rounds up to whole 2x2 groups.
    """
    rows, columns = -(-height // PATCH_SIZE), -(-width // PATCH_SIZE)
    stages = []
    for depth in depths:
        stages.append(StageGeometry(rows, columns, window_size, depth))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return tuple(stages)
