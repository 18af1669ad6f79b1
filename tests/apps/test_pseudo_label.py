from __future__ import annotations

import cv2
import numpy as np

import detection_data
from sparsevit_apps.pseudo_label import main


def test_the_command_reports_threshold_and_counts(tmp_path, capsys):
    objects = [((8.0, 8.0, 40.0, 40.0), 2, 0.8), ((30.0, 40.0, 60.0, 60.0), 0, 0.5)]  # a car, a person
    peer_file = detection_data.write_peer(tmp_path / "peer.onnx", "yolox", objects)
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(3):
        cv2.imwrite(str(frames / f"{i}.png"), np.full((64, 64, 3), 40 * i, np.uint8))
    arguments = [str(frames), "--model", str(peer_file), "--threshold", "0.6", "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "3 frames, 0 of them without an object; threshold 0.6" in said and "car: 3" in said and "person: 0" in said
    assert main([*arguments[:2], str(tmp_path / "missing.onnx"), *arguments[3:]]) == 1
    assert "error: " in capsys.readouterr().err
