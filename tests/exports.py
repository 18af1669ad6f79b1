"""What every export of every task must do, for the tests of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from networks import randomize
from shared_files import made_once
from sparsevit_exporter import (
    ExportOptions,
    SegmentationModel,
    SegmentationOptions,
    SparseViT,
    export,
    load_checkpoint,
)
from sparsevit_exporter.checkpoints import LoadedCheckpoint
from sparsevit_exporter.tasks import task_of
from sparsevit_exporter.tasks.instances import InstanceFeatures
from sparsevit_exporter.tasks.segmentation import Mask2FormerModel
from sparsevit_runtime.card import CARD_KEY, ClassCard, ModelCard
from sparsevit_runtime.images.probe import probe_image
from sparsevit_runtime.windows.plan import Plan

CLASSES = tuple(ClassCard(name=n, color=(10 * i, 0, 255)) for i, n in enumerate(("road", "car", "sky")))
#: Of a small segmenter, padded at every stage, in nodes that no exporter of today writes; 112x210 pixels, half weights.
EXPORTED_BEFORE = Path(__file__).with_name("exported_before.onnx")
#: Largest accepted difference of a network read back, over the tensor's scale, by how the weights are stored.
READ_BACK = {"fp32": 1e-5, "half": 5e-3, "fp16": 5e-3}
#: Of `half_segmenter`; every stage is padded.
HALF_SEGMENTER = ExportOptions(60, 88, half_weights=True)
#: Normalisation that nothing has for a default.
NORMALISATION = {"mean": (10.0, 20.0, 30.0), "std": (40.0, 50.0, 60.0)}


def open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def card_of(path: Path) -> ModelCard:
    return ModelCard.from_json(open_session(path).get_modelmeta().custom_metadata_map[CARD_KEY])


def small_backbone() -> SparseViT:
    """Four stages of odd and even depths."""
    return SparseViT(embed_dim=16, depths=(2, 1, 3, 1), num_heads=(1, 2, 4, 8))


def tiny_backbone(depths: Sequence[int] = (2, 4)) -> SparseViT:
    """Windows of 4x4 tokens."""
    return SparseViT(8, depths, (1, 2, 2, 2)[: len(depths)], window_size=4)


@dataclass(frozen=True)
class Exported:
    """A file, and what it was made from.

    Attributes:
        network: as it was handed to the export.
        path: of the file.
        options, classes: of the export.
    """

    network: torch.nn.Module
    path: Path
    options: ExportOptions
    classes: tuple[ClassCard, ...]


def write_export(
    network: torch.nn.Module, path: Path, options: ExportOptions, classes: Sequence[ClassCard] = ()
) -> Exported:
    """Exports a network: parity holds, and the network stays as it was."""
    before = {k: v.clone() for k, v in network.state_dict().items()}
    report = export(network, path, options, classes)
    assert report.holds, report.worst
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    return Exported(network, path, options, tuple(classes))


def half_segmenter_network() -> SegmentationModel:
    """Always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)  # of the convolutions' biases, which `randomize` moves but does not set
        return randomize(SegmentationModel(SparseViT(16, (2, 1), (1, 2), window_size=4), len(CLASSES), 8), seed=3)


def write_half_segmenter(path: Path) -> Exported:
    return write_export(half_segmenter_network(), path, HALF_SEGMENTER, CLASSES)


def half_segmenter(factory: pytest.TempPathFactory) -> Exported:
    """A segmenter of two stages, both padded, with half weights; written once for all tests that only read it."""
    path = made_once(factory, "half-segmenter/half.onnx", write_half_segmenter)
    return Exported(half_segmenter_network(), path, HALF_SEGMENTER, CLASSES)


def small_features(factory: pytest.TempPathFactory) -> Path:
    """A backbone alone, very small, 96x128 pixels; written once for all tests that only read it."""

    def write(path: Path) -> None:
        torch.manual_seed(0)
        network = randomize(SparseViT(8, (2, 1, 2, 1), (1, 1, 2, 2)), seed=5)
        assert export(network, path, ExportOptions(96, 128)).holds

    return made_once(factory, "features/features.onnx", write)


#: Of `small_mask2former`; every stage is padded, and no map is twice as large as the next.
MASK2FORMER = ExportOptions(60, 88, task=SegmentationOptions(label_stride=1))


def mask2former_network() -> Mask2FormerModel:
    """Always the same, and its queries find different classes."""
    backbone = SparseViT(8, (1, 1, 1, 1), (1, 1, 2, 2), window_size=4)
    sizes = {"queries": 6, "heads": 2, "encoder_layers": 1, "encoder_hidden": 32}
    network = Mask2FormerModel(
        backbone,
        len(CLASSES),
        channels=32,
        feature_channels=32,
        mask_channels=16,
        decoder_layers=2,
        decoder_hidden=32,
        **sizes,
    )
    randomize(network, seed=10, bias=0.3)
    with torch.no_grad():
        for weight in (network.head.class_predictor.weight, network.head.pixel_decoder.mask_projection.weight):
            weight.mul_(4)
        network.head.transformer_decoder.queries_embedder.weight.mul_(8)
    return network


def small_mask2former(factory: pytest.TempPathFactory) -> Exported:
    """Written once for all tests that only read it."""
    path = made_once(
        factory,
        "mask2former/small.onnx",
        lambda path: write_export(mask2former_network(), path, MASK2FORMER, CLASSES),
    )
    return Exported(mask2former_network(), path, MASK2FORMER, CLASSES)


#: Of `small_mask2former_in_half`; the pixel decoder resizes 5 rows to 9, a factor that float32 has not.
MASK2FORMER_IN_HALF = ExportOptions(
    36,
    88,
    precision="fp16",
    fixed=Plan(((0.5,), (0.3,), (0.0,), (0.0,))),
    task=SegmentationOptions(post_processing="huggingface"),
)


def small_mask2former_in_half(factory: pytest.TempPathFactory) -> Exported:
    """The same network with a fixed plan and the other post-processing; written once, too."""
    path = made_once(
        factory,
        "mask2former/half.onnx",
        lambda path: write_export(mask2former_network(), path, MASK2FORMER_IN_HALF, CLASSES),
    )
    return Exported(mask2former_network(), path, MASK2FORMER_IN_HALF, CLASSES)


def check_export(exported: Exported) -> None:
    """The file describes itself, and answers as its card recorded."""
    network, path, options = exported.network, exported.path, exported.options
    card = card_of(path)
    assert (card.task, card.precision) == (task_of(network).name, options.precision)
    assert (card.input.height, card.input.width) == (options.height, options.width)
    assert card.classes == exported.classes
    session = open_session(path)
    assert [i.name for i in session.get_inputs()] == (["image"] if options.fixed else ["image", "keep"])
    for name in (o.name for o in session.get_outputs()):
        assert not name.startswith(("raw_", "logits")) and not name.endswith("_logits")
    proto = onnx.load(path)
    assert {f.name for f in proto.functions} == {n.op_type for n in proto.graph.node if n.domain == "sparsevit"}
    assert not any(n.metadata_props or n.doc_string for n in proto.graph.node)
    # one file, any batch, with the outputs the card recorded
    for check in card.checks:
        frame = probe_image(options.height, options.width, check.seed)
        feed = {"image": np.stack([frame, frame[::-1], frame])}
        if check.keep is not None:
            feed["keep"] = np.array(check.keep, np.int64)
        outputs = dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))
        for recorded in check.outputs:
            assert outputs[recorded.name].shape[1:] == recorded.shape[1:]
            for sample in (0, 2):
                values = outputs[recorded.name][sample].flatten()[list(recorded.positions)]
                np.testing.assert_allclose(values, recorded.values, atol=max(recorded.atol, 1e-6), rtol=recorded.rtol)


def check_comes_back(exported: Exported) -> LoadedCheckpoint:
    """Reads the file: the same network, whatever the export did to it."""
    network, options = exported.network, exported.options
    loaded = load_checkpoint(exported.path)
    assert (loaded.task, loaded.format) == (task_of(network).name, "exported")
    assert type(loaded.network) is type(network) and not loaded.network.training
    assert loaded.input_hw == (options.height, options.width) and loaded.classes == exported.classes
    assert (loaded.mean, loaded.std) == (tuple(options.mean), tuple(options.std))
    tolerance = READ_BACK["half" if options.half_weights else options.precision]
    images = torch.randn(2, 3, 120, 76, generator=torch.Generator().manual_seed(1))  # another size than the file's
    depths = task_of(network).backbone_of(network).depths
    with torch.inference_mode():
        for ratios in (None, [[0.5] * depth for depth in depths]):
            for ours, theirs in zip(_flat(loaded.network(images, ratios)), _flat(network(images, ratios)), strict=True):
                assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    return loaded


def check_native(network: torch.nn.Module, path: Path, classes: Sequence[ClassCard]) -> None:
    """Saves a network as a training checkpoint and loads it: the same network, and all that was said about it."""
    metric = {"name": "mIoU", "dataset": "street", "ratio": 0.5, "value": 61.5, "unit": "%"}
    torch.save(
        native_document(
            network,
            classes,
            training={"data": "street", "licence": "CC0", "steps": 10},
            metrics=[metric],
            resume={"step": 3, "optimizer": {}},
        ),
        path,
    )
    loaded = load_checkpoint(path)
    assert type(loaded.network) is type(network) and not loaded.network.training
    assert (loaded.format, loaded.task, loaded.input_hw) == ("native", task_of(network).name, (96, 64))
    assert loaded.classes == tuple(classes)
    assert (loaded.mean, loaded.std) == tuple(NORMALISATION.values())
    assert loaded.training == {"data": "street", "licence": "CC0", "steps": 10}
    assert [m.model_dump() for m in loaded.metrics] == [metric]
    images = torch.randn(1, 3, 96, 64, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        for ours, theirs in zip(_flat(loaded.network(images)), _flat(network(images)), strict=True):
            assert torch.equal(ours, theirs)


def native_document(network: torch.nn.Module, classes: Sequence[ClassCard] = (), **changes) -> dict:
    """A training checkpoint of a network; `changes` replace entries."""
    task = task_of(network)
    return {
        "format": "sparsevit-edge",
        "version": 1,
        "task": task.name,
        "config": {
            "backbone": task.backbone_of(network).config,
            "head": None if task.head_config is None else network.head_config,
        },
        "classes": [c.model_dump() for c in classes],
        "state_dict": network.state_dict(),
        "input": {"height": 96, "width": 64, **{key: list(value) for key, value in NORMALISATION.items()}},
        "training": {},
        "metrics": [],
        **changes,
    }


def _flat(answer) -> list[torch.Tensor]:
    if isinstance(answer, InstanceFeatures):
        return [*answer.levels, *answer.logits, *answer.deltas, *_second_stage(answer)]
    parts = [answer] if isinstance(answer, torch.Tensor) else answer
    return [part for part in parts if isinstance(part, torch.Tensor) and part.is_floating_point()]


def _second_stage(answer: InstanceFeatures) -> tuple[torch.Tensor, ...]:
    """What the heads make of boxes that are the same for any network."""
    boxes = torch.tensor([[[3.0, 5.0, 40.0, 60.0], [10.0, 10.0, 70.0, 30.0]]]).expand(len(answer.levels[0]), -1, -1)
    classes = torch.zeros(boxes.shape[:2], dtype=torch.int64)
    heads = answer.network.roi_head
    return *heads.bbox_head(answer.levels, boxes), heads.mask_head(answer.levels, boxes, classes)
