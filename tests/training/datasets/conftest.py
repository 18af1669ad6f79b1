"""Data sets of the tests here."""

from __future__ import annotations

import pytest

import detection_data


@pytest.fixture
def files(tmp_path):
    """COCO JSON of four images with boxes and masks, and the folder of the images."""
    annotations, images = tmp_path / "a.json", tmp_path / "images"
    detection_data.write_coco(annotations, images)
    return annotations, images
