"""The ROS 2 example without ROS: messages are plain objects with the fields of the published definitions."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import types
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import tiny
from sparsevit_runtime import Detections
from sparsevit_runtime.errors import FrameError, ImageError

FOLDER = Path(__file__).parents[2] / "examples" / "ros2"
NAMES = ("conversions", "topic_source", "node")


class Message:
    """Base of messages: all fields of the definition, with its defaults."""

    def __init__(self, **values):
        for name, make in self.FIELDS.items():
            setattr(self, name, make())
        for name, value in values.items():
            assert name in self.FIELDS
            setattr(self, name, value)

    def __setattr__(self, name, value):
        assert name in self.FIELDS, f"{type(self).__name__} has no {name}"
        super().__setattr__(name, value)


def message(name, **fields):
    return type(name, (Message,), {"FIELDS": fields})


Time = message("Time", sec=int, nanosec=int)
Header = message("Header", stamp=Time, frame_id=str)
Image = message(
    "Image", header=Header, height=int, width=int, encoding=str, is_bigendian=int, step=int, data=bytes
)  # fmt: skip
CompressedImage = message("CompressedImage", header=Header, format=str, data=bytes)
String = message("String", data=str)
Point2D = message("Point2D", x=float, y=float)
Pose2D = message("Pose2D", position=Point2D, theta=float)
BoundingBox2D = message("BoundingBox2D", center=Pose2D, size_x=float, size_y=float)
ObjectHypothesis = message("ObjectHypothesis", class_id=str, score=float)
ObjectHypothesisWithPose = message("ObjectHypothesisWithPose", hypothesis=ObjectHypothesis, pose=object)
Detection2D = message("Detection2D", header=Header, results=list, bbox=BoundingBox2D, id=str)
Detection2DArray = message("Detection2DArray", header=Header, detections=list)


@pytest.fixture
def example(monkeypatch):
    """The modules of the example that need no ROS."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in NAMES[:2]})
    for name in NAMES:
        sys.modules.pop(name, None)


def image_message(encoding, array, padding=0, stamp=(5, 7), frame_id="left"):
    """A message of (H, W, C) or (H, W) uint8, its rows padded."""
    rows = array.reshape(array.shape[0], -1)
    data = np.pad(rows, ((0, 0), (0, padding)), constant_values=99).tobytes()
    header = Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)
    height, width = array.shape[:2]
    return Image(header=header, height=height, width=width, encoding=encoding, step=rows.shape[1] + padding, data=data)


COLOR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GREY = COLOR[..., 0]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "sent", "wanted"),
    [
        ("bgr8", COLOR, COLOR),
        ("rgb8", COLOR[..., ::-1], COLOR),
        ("bgra8", np.dstack([COLOR, GREY]), COLOR),
        ("rgba8", np.dstack([COLOR[..., ::-1], GREY]), COLOR),
        ("mono8", GREY, np.dstack([GREY] * 3)),
        ("yuv422_yuy2", np.dstack([GREY, np.full_like(GREY, 128)]), None),
        ("yuv422", np.dstack([np.full_like(GREY, 128), GREY]), None),
    ],
)
def test_images_of_every_encoding_are_read(example, encoding, sent, wanted, padding):
    image = example.conversions.image_of(image_message(encoding, np.ascontiguousarray(sent), padding))
    assert image.shape == (6, 8, 3) and image.dtype == np.uint8
    if wanted is None:  # without colour: the brightness of video, 16 to 235
        wanted = np.dstack([(GREY.astype(float) - 16) * 255 / 219] * 3).clip(0, 255)
    assert np.abs(image.astype(float) - wanted).max() <= 2


def test_images_that_cannot_be_read_say_what_can(example):
    with pytest.raises(FrameError, match="bayer_rggb8.*accepted: bgr8"):
        example.conversions.image_of(image_message("bayer_rggb8", GREY))
    short = image_message("bgr8", COLOR)
    short.data = short.data[:-1]
    with pytest.raises(FrameError, match="needs 24 a row"):
        example.conversions.image_of(short)
    with pytest.raises(ImageError):
        example.conversions.compressed_image_of(CompressedImage(format="jpeg", data=b"\xff\xd8nothing"))


def test_detections_become_boxes_with_names_scores_and_numbers(example):
    found = Detections(
        image_wh=(64, 48),
        timestamp_ns=3_000_000_004,
        xyxy=np.array([[1, 2, 11, 22], [0, 0, 4, 4]], np.float32),
        confidence=np.array([0.75, 0.5], np.float32),
        class_id=np.array([1, 0]),
        track_ids=np.array([7, -1]),
        names=("car", "person"),
    )
    array = Detection2DArray()
    example.conversions.fill_header(array.header, found, "left")
    example.conversions.fill_detections(array, found, Detection2D, ObjectHypothesisWithPose)
    first, second = array.detections
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (6, 12)
    assert (first.bbox.size_x, first.bbox.size_y, first.id, second.id) == (10, 20, "7", "")
    assert (first.results[0].hypothesis.class_id, first.results[0].hypothesis.score) == ("person", 0.75)
    assert (first.header.stamp.sec, first.header.stamp.nanosec, first.header.frame_id) == (3, 4, "left")


def test_pictures_and_label_maps_are_read_back(example):
    for image, wanted in ((COLOR, COLOR), (GREY, np.dstack([GREY] * 3))):
        sent = Image()
        example.conversions.fill_image(sent, image)
        assert np.array_equal(example.conversions.image_of(sent), wanted)


def test_a_topic_is_a_live_source_whose_newest_image_waits(example):
    source = example.topic_source.TopicSource(example.conversions.image_of)
    for i in range(3):
        source.take(image_message("bgr8", COLOR, stamp=(i, 0)))
    frame = source.read()
    assert (frame.index, frame.timestamp_ns, source.frame_id, source.live) == (2, 2_000_000_000, "left", True)
    reader = threading.Thread(target=lambda: frames.append(source.read()))
    frames = []
    reader.start()
    source.take(image_message("nonsense", COLOR))
    source.close()
    reader.join(5)
    assert frames == [None] and not reader.is_alive()


class Node:
    """What the example takes of rclpy's Node."""

    parameters: dict

    def __init__(self, name):
        self.subscribed, self.published = {}, {}

    def declare_parameter(self, name, default):
        return SimpleNamespace(value=self.parameters.get(name, default))

    def create_publisher(self, kind, topic, depth):
        sent = self.published[topic] = []
        return SimpleNamespace(publish=sent.append, get_subscription_count=lambda: 1)

    def create_subscription(self, kind, topic, callback, qos):
        self.subscribed[topic] = kind, callback

    def create_timer(self, seconds, callback):
        self.tick = callback

    def destroy_node(self):
        pass


@pytest.fixture
def node_class(example, monkeypatch):
    """The node, over modules with the names that ROS has."""
    modules = {
        "rclpy": {},
        "rclpy.node": {"Node": Node},
        "rclpy.qos": {"qos_profile_sensor_data": object()},
        "sensor_msgs": {},
        "sensor_msgs.msg": {"Image": Image, "CompressedImage": CompressedImage},
        "std_msgs": {},
        "std_msgs.msg": {"String": String},
        "vision_msgs": {},
        "vision_msgs.msg": {
            "Detection2D": Detection2D,
            "Detection2DArray": Detection2DArray,
            "ObjectHypothesisWithPose": ObjectHypothesisWithPose,
        },
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return importlib.import_module("node").SparseViTNode


@pytest.mark.timed
@pytest.mark.parametrize("compressed", [False, True])
def test_the_node_answers_every_image_with_its_time(node_class, soon, tmp_path, compressed):
    Node.parameters = {
        "model": str(tiny.write_model(tmp_path / "tiny.onnx")),
        "sparsity": 0.5,
        "compressed": compressed,
    }
    node = node_class()
    try:
        kind, take = node.subscribed["image/compressed" if compressed else "image"]
        sent = image_message("bgr8", COLOR, stamp=(5, 6))
        if compressed:
            sent = kind(header=sent.header, format="png", data=cv2.imencode(".png", COLOR)[1].tobytes())
        take(sent)
        soon(lambda: node.published["~/annotated"])
        (labels,) = node.published["~/labels"]
        assert (labels.width, labels.height, labels.encoding) == (8, 6, "mono8")
        assert (labels.header.stamp.sec, labels.header.stamp.nanosec, labels.header.frame_id) == (5, 6, "left")
        assert node.published["~/annotated"][0].encoding == "bgr8" and not node.published["~/detections"]
        node.tick()
        told = json.loads(node.published["~/status"][0].data)
        assert told["state"] == "running" and told["processed"] == 1 and 0 < told["window_share"] < 1
    finally:
        node.destroy_node()
