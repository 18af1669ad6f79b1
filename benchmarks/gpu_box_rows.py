"""What a detector's heads do with boxes, for `gpu_kernel_rows`: suppression, and RoIAlign over four maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_kernels import DeviceBuffer
from gpu_work import Work
from nms_kernel import NmsCase, bind_nms, check_nms, random_boxes, workspace_bytes
from roi_kernel import LEVELS, RoiCase, bind_roi, check_roi, level_of, random_maps
from window_kernels import Kernels

#: (name, boxes, limit or output size, at how many channels) of the published Mask R-CNN, and of a fast one.
_PROPOSALS, _CLASSES, _DETECTIONS = (1000, 300), 80, 100
_CHANNELS, _DRY_CHANNELS = 256, 16
_RPN_LEVELS = 5


def box_works(settings: Any, kernels: Kernels | None) -> list[Work]:
    """Suppression in a proposal network and in a box head, RoIAlign for boxes and masks, at every batch."""
    works = []
    for batch in settings.batches:
        rpn = NmsCase(_RPN_LEVELS * batch, 1000, 0.7, -1.0)
        works.append(_nms_work(rpn, {"where": "proposals", "batch": batch}, kernels))
        for proposals in _PROPOSALS:
            heads = NmsCase(_CLASSES * batch, proposals, 0.5, 0.05, _DETECTIONS)
            works.append(_nms_work(heads, {"where": f"{_CLASSES} classes of {proposals}", "batch": batch}, kernels))
        for height, width in settings.sizes:
            for precision in settings.precisions:
                element = {"fp32": "float32", "fp16": "float16"}[precision]
                for count, bins in (*((count, 7) for count in _PROPOSALS), (_DETECTIONS, 14)):
                    channels = _DRY_CHANNELS if settings.dry_run else _CHANNELS
                    case = RoiCase(batch, count, channels, bins, element, height, width)
                    where = {"where": f"{count} of {bins}x{bins}", "size": f"{height}x{width}", "precision": precision}
                    works.append(_roi_work(case, {**where, "batch": batch}, kernels))
    return works


def nms_bytes(case: NmsCase) -> int:
    """Bytes that a suppression cannot avoid: boxes and scores read, answers written."""
    return case.groups * case.count * (16 + 4 + 4)


def roi_bytes(case: RoiCase, boxes: np.ndarray) -> int:
    """Bytes that a RoIAlign cannot avoid: the cells under any box once, the boxes, and the bins written."""
    touched = 0
    for sample in range(case.batch):
        covered = [np.zeros(case.map_hw(level), bool) for level in range(LEVELS)]
        for box in boxes[sample]:
            level = level_of(case, box)
            left, top, right, bottom = box / case.strides[level] - 0.5
            rows = slice(max(0, int(top)), max(0, int(bottom) + 2))
            covered[level][rows, max(0, int(left)) : max(0, int(right) + 2)] = True
        touched += sum(int(cells.sum()) for cells in covered)
    element = 4 if case.element == "float32" else 2
    return boxes.nbytes + (touched * case.channels + int(np.prod(case.output_shape))) * element


def image_boxes(case: RoiCase, seed: int = 0) -> np.ndarray:
    """boxes (B, N, 4) float32 as proposals lie: inside the image, of sizes from 16 pixels to the whole of it."""
    random = np.random.default_rng(seed)
    image_wh = np.array([case.width, case.height], np.float32)
    sizes = np.exp(random.uniform(np.log(16), np.log(image_wh), (case.batch, case.count, 2)))
    corners = random.random((case.batch, case.count, 2)) * (image_wh - sizes)
    return np.concatenate([corners, corners + sizes], -1).astype(np.float32)


def _nms_work(case: NmsCase, where: dict, kernels: Kernels | None) -> Work:
    def one_set(boxes: np.ndarray, scores: np.ndarray) -> Callable[[int], int]:
        assert kernels is not None
        launch = bind_nms(kernels.library)
        needed = workspace_bytes(kernels.library, case)
        buffers = {
            "boxes": DeviceBuffer(boxes.reshape(-1).view(np.uint8)),
            "scores": DeviceBuffer(scores.reshape(-1).view(np.uint8)),
            "keep": DeviceBuffer(np.zeros(scores.nbytes, np.uint8)),
            "workspace": DeviceBuffer(np.zeros(needed, np.uint8)),
        }
        addresses = {name: buffer.address for name, buffer in buffers.items()}
        return lambda stream, _held=buffers: launch(case.call(**addresses, stream=stream))

    def prepare(sets: int) -> list[Callable[[int], int]]:
        given = random_boxes(case, 0)
        return [one_set(*given) for _ in range(sets)]

    return Work(
        {"kernel": "nms_keep", **where},
        nms_bytes(case),
        lambda: check_nms(kernels.library, DeviceBuffer, case, 0),
        prepare,
    )


def _roi_work(case: RoiCase, where: dict, kernels: Kernels | None) -> Work:
    boxes = image_boxes(case)

    def one_set(maps: list[np.ndarray]) -> Callable[[int], int]:
        assert kernels is not None
        launch = bind_roi(kernels.library)
        cells = [DeviceBuffer(array.reshape(-1).view(np.uint8)) for array in maps]
        read = DeviceBuffer(boxes.reshape(-1).view(np.uint8))
        nbytes = int(np.prod(case.output_shape)) * maps[0].itemsize
        output = DeviceBuffer(np.zeros(nbytes, np.uint8))
        addresses = {"boxes": read.address, "output": output.address}
        held = (cells, read, output)
        return lambda stream, _held=held: launch(
            case.call([buffer.address for buffer in cells], **addresses, stream=stream)
        )

    def prepare(sets: int) -> list[Callable[[int], int]]:
        maps = random_maps(case, 0)
        return [one_set(maps) for _ in range(sets)]

    return Work(
        {"kernel": "multi_level_roi_align", **where},
        roi_bytes(case, boxes),
        lambda: check_roi(kernels.library, DeviceBuffer, case, 0, given=boxes),
        prepare,
    )
