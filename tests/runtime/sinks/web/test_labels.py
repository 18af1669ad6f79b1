import pytest

from sparsevit_runtime.sinks.web.labels import Labels, label_of


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("camera 0", "camera 0"),
        ("front", "front"),
        ("synthetic street, seed 0", "synthetic street, seed 0"),
        ("/dev/video0", "video0"),
        ("/dev/video0?size=1280x720", "video0"),
        ("/home/someone/private/clip.mp4", "clip.mp4"),
        ("private/frames/", "frames"),
        ("C:\\private\\clip.mp4", "clip.mp4"),
        ("rtsp://10.0.0.7:554/private", "10.0.0.7"),
        ("rtsp://user:secret@10.0.0.7:554/private", "10.0.0.7"),
        ("rtsp://***@cam.local/private?token=secret", "cam.local"),
        ("rtsp://user:sec/ret@10.0.0.7/x", "10.0.0.7"),
        ("rtsp://user:sec#ret@10.0.0.7/x", "10.0.0.7"),
        ("rtsp://[fe80::1]:554/private", "[fe80::1]"),
        ("user:secret@10.0.0.7", "camera"),
        ("csi://0", "0"),
        ("", "camera"),
        ("-", "stdout"),
        ("\x1b[2Jfront", "\\x1b[2Jfront"),
    ],
)
def test_a_label_tells_a_source_and_neither_path_nor_password(name, label):
    assert label_of(name) == label


def test_a_long_name_keeps_its_end():
    label = label_of("x" * 100 + "-front.mp4")
    assert len(label) == 40 and label.startswith("...") and label.endswith("-front.mp4")


def test_two_of_one_name_are_told_apart_and_stay_so():
    labels = Labels()
    names = ["a/clip.mp4", "b/clip.mp4", "clip.mp4 2", "c/clip.mp4"]
    assert labels.of(names) == dict(zip(names, ["clip.mp4", "clip.mp4 2", "clip.mp4 2 2", "clip.mp4 3"]))
    assert labels["b/clip.mp4"] == "clip.mp4 2"
