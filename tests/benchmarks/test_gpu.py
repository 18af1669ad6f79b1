"""What the GPU benchmark leaves in its file, whatever happens on the way."""

from __future__ import annotations

import json

import numpy as np
import pytest

from attention_kernel import AttentionCase
from ends_kernels import DecodeCase, EmbedCase
from gpu import SECTIONS, main, record, use_plugins
from gpu_block_rows import attention_bytes, attention_macs, fused_bytes
from gpu_box_rows import image_boxes, nms_bytes, roi_bytes
from gpu_end_rows import decode_bytes, embed_bytes, embed_macs
from gpu_kernel_rows import measure
from gpu_work import Work
from nms_kernel import NmsCase
from roi_kernel import RoiCase
from sparsevit_runtime.errors import BuildError, SinkError
from sparsevit_runtime.tensorrt import find_plugins
from sparsevit_runtime.tensorrt.plugin_library import VARIABLE
from window_kernels import Case


@pytest.fixture
def output(tmp_path):
    return tmp_path / "gpu.json"


def read(path):
    return json.loads(path.read_text())


def test_every_row_is_in_the_file_before_the_next_is_measured(output):
    seen = []

    def rows():
        for number in range(3):
            seen.append(len(read(output)["kernels"]) if number else read(output)["kernels"])
            yield {"kernel": "score", "number": number}

    everything, failed = record(output, {"schema": 1}, {"kernels": rows})
    assert seen == [[{"what": "kernels", "not_run": "the run ended before"}], 1, 2]
    document = read(output)
    assert document["schema"] == 1 and [row["number"] for row in document["kernels"]] == [0, 1, 2]
    assert document["latency"] == [{"what": "latency", "not_run": "left out with --only"}]
    assert len(everything) == 3 + len(SECTIONS) - 1 and failed == []


def test_a_section_that_breaks_off_keeps_its_rows_and_the_next_one_runs(output):
    def broken():
        yield {"kernel": "score"}
        raise RuntimeError("an illegal memory access\nand a trace")

    _, failed = record(output, {}, {"kernels": broken, "latency": lambda: [{"what": "dense"}]})
    assert failed == ["kernels broke off: RuntimeError: an illegal memory access"]
    document = read(output)
    assert document["kernels"][0] == {"kernel": "score"}
    assert document["kernels"][1]["not_run"] == "broke off: RuntimeError: an illegal memory access"
    assert document["latency"] == [{"what": "dense"}]


def test_ctrl_c_leaves_what_was_measured(output):
    def stopped():
        yield {"what": "dense"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(output, {}, {"latency": stopped})
    assert read(output)["latency"] == [{"what": "dense"}]


def test_a_missing_folder_is_known_before_anything_is_measured(tmp_path):
    with pytest.raises(SinkError):
        record(tmp_path / "none" / "gpu.json", {}, {"kernels": lambda: pytest.fail("measured")})


@pytest.mark.parametrize(
    ("error", "row"),
    [
        (AssertionError("gather is wrong"), {"correct": False, "error": "gather is wrong"}),
        (RuntimeError("CUDA out of memory\nmore"), {"not_run": "RuntimeError: CUDA out of memory"}),
        (MemoryError(), {"not_run": "MemoryError"}),
    ],
)
def test_a_kernel_that_cannot_be_checked_costs_its_own_row_only(error, row):
    def check():
        raise error

    assert measure(Work({"kernel": "gather"}, 8, check, lambda sets: []), 1) == {"kernel": "gather", "bytes": 8, **row}


def test_plugins_named_are_those_that_engines_are_opened_with(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/elsewhere/libsparsevit_plugins.so")
    library = tmp_path / "mine.so"
    with pytest.raises(BuildError, match="--plugins"):
        use_plugins(library)
    library.write_bytes(b"\x7fELF")
    use_plugins(library)
    assert find_plugins().path == library


def test_what_the_kernels_of_boxes_have_to_move():
    assert nms_bytes(NmsCase(5, 1000)) == 5 * 1000 * 24
    case = RoiCase(1, 2, 3, 7, "float16", 64, 64)
    twice = np.array([[(0, 0, 64, 64)] * 2], np.float32)
    assert roi_bytes(case, twice) == 2 * 16 + (16 * 16 * 3 + 2 * 3 * 49) * 2, "the cells under two boxes count once"
    boxes = image_boxes(RoiCase(2, 500, 1, height=300, width=700))
    assert (boxes >= 0).all() and (boxes[..., 2:] <= (700.1, 300.1)).all() and (boxes[..., 2:] > boxes[..., :2]).all()


def test_what_the_kernels_of_a_block_have_to_move():
    """At 672x672 a Swin-T's first stage has no padding: 230 of 576 windows of 49 tokens of 96 channels."""
    case = Case(1, 168, 168, 96, 7, 3, 230, "float16", np.int32)
    tokens = 230 * 49 * 96 * 2
    assert fused_bytes("rank", case) == 168 * 168 * 96 * 2 + 576 * 4
    assert fused_bytes("gather_norm", case) == 3 * tokens + 230 * 4 + 2 * 96 * 2
    assert fused_bytes("scatter_add", case) == 3 * tokens + 230 * 4 + 96 * 2
    attention = AttentionCase(1, 230, 3, 32, 7, "float16", np.int32, kinds=9, windows=576)
    tables = (3 * 96 + 9 * 3 * 49 * 49) * 2
    assert attention_bytes(attention) == 4 * tokens + tables + 230 * 4 + 576 * 4
    assert attention_macs(attention) == 230 * 3 * 2 * 49 * 49 * 32


def test_what_the_kernels_at_both_ends_have_to_move():
    tokens = 256 * 512 * 96
    embed = EmbedCase(1, 1024, 2048, 96, element="float16")
    assert embed_bytes(embed) == 1024 * 2048 * 3 + 49 * 96 * 4 + 12 + 2 * 96 * 2 + tokens * 2
    assert embed_macs(embed) == 48 * tokens
    assert decode_bytes(DecodeCase(1, 19, 256, 512, 4, "float16")) == 19 * 256 * 512 * 2 + 1024 * 2048


def test_a_dry_run_of_the_kernels_lists_every_row(output, monkeypatch):
    """Without a compiler, too: the reason is in each row."""
    monkeypatch.setenv("PATH", "")
    assert main(["--dry-run", "--only", "kernels", "--batches", "1", "-o", str(output)]) == 0
    document = read(output)
    assert set(SECTIONS) <= set(document)
    kernels = {row["kernel"] for row in document["kernels"]}
    boxes = {"nms_keep", "multi_level_roi_align"}
    blocks = {"rank", "gather_norm", "attention", "add_norm", "scatter_add_in_place", "patch_merge_norm"}
    ends = {"feature_map_norm", "patch_embed", "label_decode", "letterbox"}
    assert kernels == {"score", "gather", "scatter", "scatter_in_place", *blocks, *boxes, *ends}
    assert all(row["macs"] > 0 for row in document["kernels"] if row["kernel"] == "attention")
    assert {row["not_run"] for row in document["kernels"]} == {"nvcc is not on PATH"}
    assert all(row["bytes"] > 0 for row in document["kernels"])
