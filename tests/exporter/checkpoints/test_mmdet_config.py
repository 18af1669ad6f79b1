"""What a config of mmdetection says beside the weights, and what becomes of it."""

import logging

import pytest
import torch

from exports import tiny_backbone
from networks import randomize
from sparsevit_exporter import InstanceModel, load_checkpoint
from sparsevit_exporter.checkpoints import mmdet_config
from sparsevit_runtime.errors import CheckpointError

#: As mmcv and mmengine write it, shortened.
PUBLISHED = """
model = dict(
    type='MaskRCNN',
    backbone=dict(type='SparseViT', depths=[2, 2, 6, 2], init_cfg=None),
    neck=dict(type='FPN', in_channels=[96, 192, 384, 768], out_channels=256, num_outs=5),
    rpn_head=dict(
        type='RPNHead',
        anchor_generator=dict(
            type='AnchorGenerator', scales=[8], ratios=[0.5, 1.0, 2.0], strides=[4, 8, 16, 32, 64]),
        bbox_coder=dict(target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[1.0, 1.0, 1.0, 1.0])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0), featmap_strides=[4, 8, 16, 32]),
        bbox_head=dict(bbox_coder=dict(target_means=[0., 0., 0., 0.], target_stds=[0.1, 0.1, 0.2, 0.2])),
        mask_roi_extractor=dict(roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=0))),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=1000, nms=dict(type='nms', iou_threshold=0.7), min_bbox_size=0),
        rcnn=dict(score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=100, mask_thr_binary=0.5)))
img_norm_cfg = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
find_unused_parameters = True
"""


@pytest.fixture(scope="module")
def network() -> InstanceModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return randomize(InstanceModel(tiny_backbone((1, 1, 1, 1)), 2, 8, 16), 1)


@pytest.fixture
def loads(network, tmp_path):
    def load(text, key="config", **options):
        torch.save({"state_dict": network.state_dict(), "meta": {key: text}}, tmp_path / "w.pth")
        return load_checkpoint(tmp_path / "w.pth", **options)

    return load


def test_the_published_config_is_what_is_computed(loads, caplog):
    with caplog.at_level(logging.WARNING):
        loaded = loads(PUBLISHED)
    assert loaded.task == "instances" and loaded.adapted and not caplog.records
    assert (loaded.mean, loaded.std) == ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("scales=[8]", "scales=[4, 8]", r"rpn_head.anchor_generator.scales \[4, 8\] \(here \[8\]\)"),
        ("ratios=[0.5, 1.0, 2.0]", "ratios=[1.0, 2.0, 3.0]", "anchor_generator.ratios"),
        ("strides=[4, 8, 16, 32, 64]", "strides=[8, 16, 32, 64, 128]", "anchor_generator.strides"),
        ("target_stds=[0.1, 0.1, 0.2, 0.2]", "target_stds=[1.0] * 4", None),  # would have to be computed: not read
        ("target_stds=[0.1, 0.1, 0.2, 0.2]", "target_stds=[0.05, 0.05, 0.1, 0.1]", "bbox_coder.target_stds"),
        ("output_size=7, sampling_ratio=0", "output_size=7, sampling_ratio=2", "roi_layer.sampling_ratio 2"),
        ("'AnchorGenerator'", "'LegacyAnchorGenerator'", "anchor_generator.type LegacyAnchorGenerator"),
        ("type='FPN'", "type='PAFPN'", "neck.type PAFPN"),
        ("scales=[8]", "scales=[side]", None),
        ("output_size=7", "output_size=(7, 7)", None),
    ],
)
def test_heads_of_the_same_shapes_that_compute_otherwise_are_refused(loads, old, new, told):
    text = PUBLISHED.replace(old, new)
    assert text != PUBLISHED
    if told is None:
        assert loads(text).task == "instances"
        return
    with pytest.raises(CheckpointError, match=f"w.pth: its config has .*{told}.*--format reference --task backbone"):
        loads(text)
    assert loads(text, format="reference").task == "backbone"


def test_a_backbone_of_the_same_shapes_that_computes_otherwise_is_refused(loads):
    text = PUBLISHED.replace("init_cfg=None", "qk_scale=0.5")
    for form in ("auto", "reference"):
        with pytest.raises(CheckpointError, match=r"w.pth: its config has a backbone with qk_scale 0.5 \(here None\)"):
            loads(text, format=form)


def test_what_options_of_the_export_choose_is_told_with_them(loads, caplog):
    tests = "dict(rpn=dict(max_per_img=300), rcnn=dict(score_thr=0.3, nms=dict(class_agnostic=True)))"
    with caplog.at_level(logging.WARNING):
        loads(f"model = dict(type='MaskRCNN')\npruning_ratios = 0\ntest_cfg = {tests}")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "rcnn.nms.class_agnostic True (here False)" in line
    assert "rpn.max_per_img 300 (here 1000, or what --proposals says)" in line
    assert "rcnn.score_thr 0.3 (here 0.05, or what --score-threshold says)" in line


def test_other_choices_in_tests_are_told(loads, caplog):
    text = PUBLISHED.replace("iou_threshold=0.5", "iou_threshold=0.6").replace("nms_pre=1000", "nms_pre=2000")
    with caplog.at_level(logging.WARNING):
        loads(text)
    (line,) = [record.getMessage() for record in caplog.records]
    assert "rpn.nms_pre 2000 (here 1000), rcnn.nms.iou_threshold 0.6 (here 0.5)" in line


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("config", "img_norm_cfg = dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], to_rgb=True)"),
        ("cfg", "model = dict(data_preprocessor=dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], bgr_to_rgb=True))"),
    ],
)
def test_pixels_are_normalised_as_in_training(loads, network, key, text):
    loaded = loads(text, key)
    assert (loaded.mean, loaded.std) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    name = "backbone.patch_embed.projection.weight"
    assert torch.equal(loaded.network.state_dict()[name], network.state_dict()[name])


def test_a_network_that_saw_blue_first_is_turned(loads, network):
    loaded = loads("img_norm_cfg = dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], to_rgb=False)")
    blue_first = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255
    mean, std = torch.tensor([1.0, 2, 3]).view(3, 1, 1), torch.tensor([4.0, 5, 6]).view(3, 1, 1)
    ours = (torch.tensor(v).view(3, 1, 1) for v in (loaded.mean, loaded.std))
    with torch.inference_mode():
        expected = network.backbone((blue_first - mean) / std)
        centre, scale = ours
        found = loaded.network.backbone((blue_first.flip(1) - centre) / scale)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model = ",
        "model = dict(" * 200,
        "x = __import__('os').system('false')",
        "\x00",
        "model = dict(**a)",
        "model = 3\nimg_norm_cfg = dict(mean=[1, 2], std='a')",
        "img_norm_cfg = dict(mean=[1,2,3], std=[0,1,1])",
    ],
)
def test_texts_that_say_nothing_are_no_matter(text, loads):
    assert mmdet_config.normalisation(mmdet_config.read({"config": text})) is None
    assert loads(text).mean == (123.675, 116.28, 103.53)
