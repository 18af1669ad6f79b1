"""Exported files in ONNX Runtime with the custom ops: all of their nodes run by them, answers those of the bodies."""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from exports import half_segmenter, small_features
from single_nodes import nodes_run, open_model
from sparsevit_exporter.nodes import DOMAIN
from sparsevit_runtime import bundled_models
from sparsevit_runtime.card import CARD_KEY, ModelCard
from sparsevit_runtime.images.probe import probe_image

ERRORS = onnxruntime.capi.onnxruntime_pybind11_state


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    return small_features(tmp_path_factory)


def images(session: onnxruntime.InferenceSession, batch: int) -> np.ndarray:
    _, height, width, _ = session.get_inputs()[0].shape
    return np.stack([probe_image(height, width, seed) for seed in range(batch)])


def custom_nodes(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node if node.domain == DOMAIN)


def worst(found: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference over the tensor's scale."""
    difference = np.abs(np.float64(found) - np.float64(wanted)).max(initial=0)
    return float(difference / max(1e-6, np.abs(np.float64(wanted)).max(initial=0)))


def test_every_plan_and_batch(library, features):
    bodies, ops = open_model(features), open_model(features, library)
    names = [output.name for output in ops.get_outputs()]
    for batch in (1, 3, 2, 1):
        for share in (1.0, 0.4, 0.0):
            feeds = whole(bodies, batch, share)
            wanted, found = bodies.run(None, feeds), ops.run(None, feeds)
            for name, a, b in zip(names, found, wanted):
                if "windows" in name:
                    np.testing.assert_array_equal(a, b)
                else:
                    assert worst(a, b) < 1e-5, (name, batch, share)


def whole(session: onnxruntime.InferenceSession, batch: int, share: float = 1.0) -> dict[str, np.ndarray]:
    """Feeds with that share of each stage's windows."""
    card = ModelCard.from_json(session.get_modelmeta().custom_metadata_map[CARD_KEY])
    keep = [int(stage.windows * share) for stage in card.stages for _ in range(stage.pairs)]
    return {"image": images(session, batch), "keep": np.array(keep, np.int64)}


def test_every_node_is_run_by_an_op(library, features, tmp_path):
    feeds = whole(open_model(features), 2, 0.5)
    _, kinds = nodes_run(features, feeds, library, tmp_path)
    inside = custom_nodes(features)
    assert inside and {kind: kinds[kind] for kind in inside} == dict(inside)


def test_a_file_without_the_bodies_runs_with_the_ops_alone(library, features, tmp_path):
    model = onnx.load(features)
    del model.functions[:]
    bare = tmp_path / "bare.onnx"
    onnx.save(model, bare)
    feeds = whole(open_model(features), 2, 0.5)
    for a, b in zip(open_model(bare, library).run(None, feeds), open_model(features, library).run(None, feeds)):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ERRORS.Fail):
        open_model(bare)


def test_labels_of_padded_stages(library, tmp_path_factory):
    path = half_segmenter(tmp_path_factory).path
    bodies, ops = open_model(path), open_model(path, library)
    feeds = whole(bodies, 2, 0.5)
    assert (bodies.run(["labels"], feeds)[0] == ops.run(["labels"], feeds)[0]).mean() > 0.999


def test_a_bundled_model(library, tmp_path):
    path = bundled_models()["road-users"]
    bodies = open_model(path)
    feeds = whole(bodies, 1, 0.4)
    found, kinds = nodes_run(path, feeds, library, tmp_path)
    inside = custom_nodes(path)
    assert inside and {kind: kinds[kind] for kind in inside} == dict(inside)
    answers = dict(zip([o.name for o in bodies.get_outputs()], zip(found, bodies.run(None, feeds))))
    assert worst(*answers["scores"]) < 1e-4 and worst(*answers["boxes"]) < 1e-3


def test_sessions_with_and_without_the_ops_side_by_side(library, features):
    """One process, four sessions, eight threads."""
    sessions = [open_model(features, which) for which in (library, None, library, None)]
    feeds = [whole(sessions[0], 1 + i % 2, share) for i, share in enumerate((1.0, 0.3, 0.6))]
    wanted = [sessions[1].run(None, each) for each in feeds]

    def work(i: int) -> float:
        found = sessions[i % 4].run(None, feeds[i % 3])
        return max(worst(a, b) for a, b in zip(found, wanted[i % 3]))

    with ThreadPoolExecutor(min(8, 4 * (os.cpu_count() or 1))) as pool:
        assert max(pool.map(work, range(24))) < 1e-5
