"""ROS 2 messages as frames and results, and back. Needs no ROS: messages are read and written by the fields of their
definitions (sensor_msgs, vision_msgs 4), whatever made them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from sparsevit_runtime import Detections, Frame, Result, Segmentation
from sparsevit_runtime.errors import FrameError
from sparsevit_runtime.images.image_files import decode_image

#: For each encoding of sensor_msgs/Image that is read, its channels and how it becomes BGR; None where it is that.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    "bgr8": (3, None),
    "8UC3": (3, None),
    "rgb8": (3, cv2.COLOR_RGB2BGR),
    "bgra8": (4, cv2.COLOR_BGRA2BGR),
    "rgba8": (4, cv2.COLOR_RGBA2BGR),
    "mono8": (1, cv2.COLOR_GRAY2BGR),
    "8UC1": (1, cv2.COLOR_GRAY2BGR),
    "yuv422": (2, cv2.COLOR_YUV2BGR_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2BGR_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2BGR_YUYV),
    "yuyv": (2, cv2.COLOR_YUV2BGR_YUYV),
}
_NS = 1_000_000_000


def image_of(message: Any) -> np.ndarray:
    """The picture of a sensor_msgs/Image.

    Args:
        message: with height, width, encoding, step and data; rows may be padded.

    Returns:
        (H, W, 3) uint8 BGR.

    Raises:
        FrameError: it has another encoding, or fewer bytes than it says.
    """
    if message.encoding not in ENCODINGS:
        raise FrameError(f"an image has the encoding {message.encoding!r}; accepted: {', '.join(ENCODINGS)}")
    channels, conversion = ENCODINGS[message.encoding]
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(memoryview(message.data), np.uint8)
    if step < width * channels or data.size < step * height:
        raise FrameError(
            f"an image of {width}x{height} in {message.encoding} has {data.size} bytes in rows of {step}; it needs "
            f"{width * channels} a row"
        )
    rows = data[: step * height].reshape(height, step)[:, : width * channels]
    image = np.ascontiguousarray(rows.reshape(height, width, channels))
    return image if conversion is None else np.asarray(cv2.cvtColor(image, conversion))


def compressed_image_of(message: Any) -> np.ndarray:
    """The picture of a sensor_msgs/CompressedImage, (H, W, 3) uint8 BGR. Raises ImageError: it does not decode."""
    return decode_image(bytes(message.data))


def frame_of(message: Any, image: np.ndarray, index: int) -> Frame:
    """A frame with the time of a message's header."""
    stamp = message.header.stamp
    return Frame(image, index, stamp.sec * _NS + stamp.nanosec)


def fill_header(header: Any, result: Result, frame_id: str) -> None:
    """Writes the time of a result's frame, and the camera's frame of coordinates."""
    header.stamp.sec, header.stamp.nanosec = divmod(result.timestamp_ns, _NS)
    header.frame_id = frame_id


def fill_image(message: Any, image: np.ndarray) -> None:
    """Writes a picture into a sensor_msgs/Image.

    Args:
        message: a new one.
        image: (H, W, 3) uint8 BGR, or (H, W) uint8: a label map, whose values are classes.
    """
    message.height, message.width = image.shape[:2]
    message.encoding = "bgr8" if image.ndim == 3 else "mono8"
    message.is_bigendian = 0
    message.step = image.shape[1] * (3 if image.ndim == 3 else 1)
    message.data = image.tobytes()


def fill_detections(
    message: Any, detections: Detections, new_detection: Callable[[], Any], new_hypothesis: Callable[[], Any]
) -> None:
    """Writes boxes into a vision_msgs/Detection2DArray, whose header is written already.

    Args:
        message: a new one.
        detections: detections of one frame.
        new_detection: makes a vision_msgs/Detection2D.
        new_hypothesis: makes a vision_msgs/ObjectHypothesisWithPose.
    """
    tracks = detections.track_ids
    for i, (x0, y0, x1, y1) in enumerate(detections.xyxy.tolist()):
        each, hypothesis = new_detection(), new_hypothesis()
        each.header = message.header
        each.bbox.center.position.x, each.bbox.center.position.y = (x0 + x1) / 2, (y0 + y1) / 2
        each.bbox.size_x, each.bbox.size_y = x1 - x0, y1 - y0
        hypothesis.hypothesis.class_id = detections.names[int(detections.class_id[i])]
        hypothesis.hypothesis.score = float(detections.confidence[i])
        each.results.append(hypothesis)
        if tracks is not None and tracks[i] >= 0:
            each.id = str(int(tracks[i]))
        message.detections.append(each)


def label_map_of(result: Result) -> np.ndarray | None:
    """(H, W) uint8 classes of a segmentation; None of any other result."""
    return result.label_map if isinstance(result, Segmentation) else None
