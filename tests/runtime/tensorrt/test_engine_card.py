import os

import pytest

import tiny
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import CardError
from sparsevit_runtime.tensorrt.engine_card import EngineCard, Inputs, changes, read_sidecar, sha256, sidecar_path
from sparsevit_runtime.tensorrt.profile import make_profile

MODEL = ModelCard.model_validate(tiny.card_document())
INPUTS = Inputs(
    onnx_sha256="a" * 64,
    plugins_sha256="b" * 64,
    tensorrt="tensorrt 10.3.0",
    gpu="Orin, compute capability 8.7",
    precision="fp32",
    tf32=False,
    in_place=True,
    profile=make_profile(MODEL),
)


@pytest.fixture
def engine(tmp_path):
    path = tmp_path / "m.engine"
    path.write_bytes(b"engine")
    card = EngineCard(
        inputs=INPUTS,
        engine_sha256=sha256(b"engine"),
        engine_bytes=6,
        plugin_layers=1,
        arithmetic={"FLOAT": 1},
        precision_checked="network",
        workspace_mib=1024,
        model=MODEL,
    )
    sidecar_path(path).write_text(card.model_dump_json())
    return path


def test_the_card_survives_its_file(engine):
    assert sidecar_path(engine).name == "m.engine.json"
    assert read_sidecar(engine).inputs == INPUTS and read_sidecar(engine).model == MODEL


def test_equal_inputs_are_up_to_date(engine):
    assert changes(engine, INPUTS.model_copy()) == []


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        ({"onnx_sha256": "c" * 64}, "the model file changed (sha256 aaaaaaaa -> cccccccc)"),
        ({"plugins_sha256": "d" * 64}, "the plugin library changed (sha256 bbbbbbbb -> dddddddd)"),
        ({"plugins_sha256": None}, "the plugin library changed (sha256 bbbbbbbb -> none)"),
        ({"tensorrt": "tensorrt 10.13.0"}, "TensorRT changed (tensorrt 10.3.0 -> tensorrt 10.13.0)"),
        ({"gpu": "none"}, "the GPU changed (Orin, compute capability 8.7 -> none)"),
        ({"precision": "fp16"}, "the precision changed (fp32 -> fp16)"),
        ({"tf32": True}, "the use of TF32 changed (False -> True)"),
        ({"in_place": False}, "scattering in place changed (True -> False)"),
        ({"profile": make_profile(MODEL, (1, 2, 4))}, "the profile changed"),
    ],
)
def test_every_input_counts(engine, update, reason):
    assert changes(engine, INPUTS.model_copy(update=update)) == [reason]


def test_every_input_is_compared():
    from sparsevit_runtime.tensorrt.engine_card import _CALLED

    assert set(_CALLED) == set(Inputs.model_fields)


def test_several_changes_are_all_told(engine):
    both = INPUTS.model_copy(update={"tf32": True, "gpu": "none"})
    assert len(changes(engine, both)) == 2


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda e: e.unlink(), "there is no m.engine yet"),
        (lambda e: e.write_bytes(b"other"), "m.engine is not the file that its card describes"),
        (lambda e: sidecar_path(e).unlink(), "m.engine.json is missing or not readable"),
        (lambda e: sidecar_path(e).write_text("{"), "m.engine.json is missing or not readable"),
    ],
    ids=["no engine", "another engine", "no card", "half a card"],
)
def test_files_that_do_not_belong_together(engine, spoil, reason):
    spoil(engine)
    assert changes(engine, INPUTS) == [reason]


def test_reading_a_missing_or_foreign_card(engine):
    sidecar_path(engine).write_text('{"schema_version": 2}')
    with pytest.raises(CardError, match="is no engine card: schema_version"):
        read_sidecar(engine)
    sidecar_path(engine).unlink()
    with pytest.raises(CardError, match="keep both files together"):
        read_sidecar(engine)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "loop"])
def test_a_side_car_that_is_no_file_is_refused(engine, kind):
    """Whoever gave the engine gave it, too: to read a pipe would never end."""
    path = sidecar_path(engine)
    path.unlink()
    {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
        "loop": lambda: path.symlink_to(path),
    }[kind]()
    with pytest.raises(CardError, match="m.engine.json"):
        read_sidecar(engine)
