"""A ROS 2 node: images in, detections or label maps and annotated images out.

    python3 examples/ros2/node.py --ros-args -r image:=/camera/image_raw -p model:=road-users -p target_ms:=50.0

Subscribes to `image` (sensor_msgs/Image), or with `-p compressed:=true` to `image/compressed`. Publishes `~/detections`
(vision_msgs/Detection2DArray) or `~/labels` (sensor_msgs/Image, mono8), with the image's time and frame_id, and
`~/annotated` (sensor_msgs/Image), drawn only while somebody listens. `~/status` (std_msgs/String) is JSON: what
was processed and dropped, the share of windows and why.

Parameters: model (a name or a path), sparsity (0 to 1), target_ms (0 for none: then the sparsity stays), track.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

sys.path.insert(0, str(Path(__file__).parent))
from conversions import compressed_image_of, fill_detections, fill_header, fill_image, image_of, label_map_of
from topic_source import TopicSource

from sparsevit_runtime import Detections, Outlet, Result, Session, load
from sparsevit_runtime.live.governor import Target
from sparsevit_runtime.live.levels import govern

#: Seconds between two messages about the status.
_STATUS_S = 1.0


class SparseViTNode(Node):
    """Runs a session on what comes from a topic. Threads: the executor's, and the session's, which publishes."""

    def __init__(self) -> None:
        super().__init__("sparsevit")
        told = {
            name: self.declare_parameter(name, default).value
            for name, default in
            (("model", "road-users"), ("sparsity", 0.0), ("target_ms", 0.0), ("track", False), ("compressed", False))
        }  # fmt: skip
        self._model = load(str(told["model"]))
        runner, target_ms = self._model.runner, float(told["target_ms"])
        self._source = TopicSource(compressed_image_of if told["compressed"] else image_of)
        self._annotated = self.create_publisher(Image, "~/annotated", 1)
        self._labels = self.create_publisher(Image, "~/labels", 1)
        self._detections = self.create_publisher(Detection2DArray, "~/detections", 1)
        self._status = self.create_publisher(String, "~/status", 1)
        self._session = Session(
            runner,
            {"image": self._source},
            [Outlet(self._publish, pictures=False)],
            level=None if target_ms else float(told["sparsity"]),
            governor=govern(runner, Target(latency_ms=target_ms)) if target_ms else None,
            track=bool(told["track"]),
        )
        kind, topic = (CompressedImage, "image/compressed") if told["compressed"] else (Image, "image")
        self.create_subscription(kind, topic, self._source.take, qos_profile_sensor_data)
        self.create_timer(_STATUS_S, self._tell)
        self._newest: Result | None = None
        self._lock = threading.Lock()
        self._session.start()

    def destroy_node(self) -> None:
        self._session.close()
        self._model.close()
        super().destroy_node()

    def _publish(self, result: Result, _picture: np.ndarray | None) -> None:
        """In the session's thread."""
        with self._lock:
            self._newest = result
        labels = label_map_of(result)
        if isinstance(result, Detections):
            found = Detection2DArray()
            fill_header(found.header, result, self._source.frame_id)
            fill_detections(found, result, Detection2D, ObjectHypothesisWithPose)
            self._detections.publish(found)
        elif labels is not None:
            self._labels.publish(self._as_message(result, labels))
        if result.image is not None and self._annotated.get_subscription_count():
            self._annotated.publish(self._as_message(result, self._session.draw(result.image, result)))

    def _as_message(self, result: Result, image: np.ndarray) -> Any:
        message = Image()
        fill_header(message.header, result, self._source.frame_id)
        fill_image(message, image)
        return message

    def _tell(self) -> None:
        with self._lock:
            newest = self._newest
        (counts,) = self._session.metrics.sources.values()
        told = {"state": self._session.state.value, "processed": counts.processed, "dropped": counts.dropped}
        told |= {"damaged": self._source.damaged}
        if newest is not None:
            told |= {"window_share": newest.window_share, "reason": newest.level_reason, "fps": newest.fps}
        self._status.publish(String(data=json.dumps(told)))


def main() -> None:
    rclpy.init()
    node = SparseViTNode()
    try:
        rclpy.spin(node)
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
