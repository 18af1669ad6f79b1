"""What TensorRT cannot build although ONNX Runtime runs it, known before minutes of building."""

from __future__ import annotations

from ..card import ModelCard
from ..contract import order_specs
from ..errors import BuildError
from ..graph.onnx_file import OnnxFile
from ..windows.geometry import stage_geometries

#: The largest K of TensorRT's TopK, in every version (ITopKLayer).
LARGEST_TOPK = 3840


def check_topk(file: OnnxFile, portable: bool = False) -> None:
    """Refuses a graph that sorts more than TensorRT sorts.

    With `keep` as an input all windows of a stage are sorted. A fixed export sorts all of those stages of which its
    plan prunes some; one of before sorted those that its plan keeps. The plugin that ranks windows has no limit.

    Args:
        file: model to build.
        portable: without plugins.

    Raises:
        BuildError: with the count, the limit, and the largest input of the same shape.
    """
    card = file.card
    ranked = max((card.stages[int(spec.name[-1])].windows for spec in order_specs(card)), default=0)
    in_body = portable and "WindowRank" in file.nodes
    count = max((*file.sorted_counts, ranked if in_body else 0))
    if count <= LARGEST_TOPK:
        return
    stage = next((i for i in range(len(card.stages) - 1, -1, -1) if card.stages[i].windows >= count), None)
    if stage is None:
        raise BuildError(
            f"{file.path} returns the best {count} boxes; TensorRT's TopK stops at {LARGEST_TOPK}. Export it with fewer"
        )
    height, width = largest_input(card, LARGEST_TOPK)
    windows = f"{count} windows" if card.windows.fixed is None else f"{count} of {card.stages[stage].windows} windows"
    otherwise = "build it with plugins, which have no limit" if in_body else "with --fixed and a plan that keeps fewer"
    raise BuildError(
        f"{file.path} takes {card.input.height}x{card.input.width} pixels and sorts {windows} in stage {stage}; "
        f"TensorRT's TopK stops at {LARGEST_TOPK}. Export it for {height}x{width} pixels at most, or {otherwise}; "
        "ONNX Runtime runs it as it is"
    )


def largest_input(card: ModelCard, windows: int) -> tuple[int, int]:
    """Height and width of the largest input of a model's aspect ratio whose stages have no more than `windows`."""
    full = card.input.height, card.input.width
    for width in range(full[1], 0, -1):
        height = max(1, full[0] * width // full[1])
        padded = card.input.model_copy(update={"height": height, "width": width}).padded_hw
        stages = stage_geometries(*padded, card.windows.depths, card.windows.window_size)
        if max(stage.windows for stage in stages) <= windows:
            return height, width
    return 1, 1
