import json
import os
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from sparsevit_exporter.checkpoints.files import read_sidecar, read_state
from sparsevit_runtime.errors import CheckpointError

STATE = {"a": torch.arange(3.0)}


class ConfigDict(dict):
    """Stands for the object that mmcv leaves in `meta`."""


class Executes:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def legacy(path):
    torch.save(STATE, path, _use_new_zipfile_serialization=False)


def cut(writer, keep):
    def write(path):
        writer(path)
        path.write_bytes(path.read_bytes()[:keep])

    return write


def stray_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("w.pth", lambda p: torch.save(STATE, p)),
        ("w.pt", lambda p: torch.save(STATE, p)),
        ("w.bin", legacy),
        ("w.ckpt", lambda p: torch.save(STATE, p)),
        ("w.pth.tar", legacy),
        ("w.safetensors", lambda p: save_file(STATE, p)),
        ("UPPER.PTH", lambda p: torch.save(STATE, p)),
    ],
)
def test_reads_every_kind(tmp_path, name, write):
    write(tmp_path / name)
    assert torch.equal(read_state(tmp_path / name)["a"], STATE["a"])
    assert torch.equal(read_state(str(tmp_path / name))["a"], STATE["a"])


@pytest.mark.parametrize(
    "names", [["model.safetensors"], ["pytorch_model.bin"], ["model.safetensors", "pytorch_model.bin"]]
)
def test_reads_a_directory_and_prefers_safetensors(tmp_path, names):
    for name in names:
        value = {"a": torch.tensor(float(names.index(name)))}
        save_file(value, tmp_path / name) if name.endswith("safetensors") else torch.save(value, tmp_path / name)
    assert read_state(tmp_path)["a"] == 0.0


def test_a_directory_with_one_variant_alone(tmp_path):
    save_file(STATE, tmp_path / "model.fp16.safetensors")
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, tmp_path / "model.fp16.safetensors"):
        assert torch.equal(read_state(path)["a"], STATE["a"]) and read_sidecar(path, "config.json") == {}


def test_metadata_of_plain_values_is_kept(tmp_path):
    meta = {"mmdet_version": "2.25.0", "CLASSES": ("person", "car"), "epoch": 12}
    torch.save({"meta": meta, "state_dict": STATE, "optimizer": {"state": {0: {"step": 3}}}}, tmp_path / "w.pth")
    assert read_state(tmp_path / "w.pth")["meta"] == meta


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("gone.pth", lambda p: None, "no checkpoint at .*gone.pth; check the path"),
        ("model.onnx", lambda p: p.write_bytes(b"x"), r"ends in '.onnx'; checkpoints end in .pth"),
        ("plain", lambda p: p.write_bytes(b"x"), "ends in 'no suffix'"),
        ("e.pth", lambda p: p.write_bytes(b""), "empty .0 bytes.; copy or download"),
        ("e.safetensors", lambda p: p.write_bytes(b""), "empty .0 bytes."),
        ("lfs.bin", lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"),
        ("cut.pth", cut(lambda p: torch.save(STATE, p), 400), r"\(400 bytes\) is truncated or not a PyTorch file"),
        ("cut_legacy.pth", cut(legacy, 60), "truncated or not a PyTorch file"),
        ("cut.safetensors", cut(lambda p: save_file(STATE, p), 70), "truncated or not a safetensors file"),
        ("text.pth", lambda p: p.write_text("hello, this is text"), "truncated or not a PyTorch file"),
        ("html.pt", lambda p: p.write_text("<!DOCTYPE html>"), "truncated or not a PyTorch file"),
        ("text.safetensors", lambda p: p.write_text("hello, this is text"), "not a safetensors file"),
        ("zip.pth", stray_zip, "truncated or not a PyTorch file"),
        ("list.pth", lambda p: torch.save([torch.ones(1)], p), "holds a list, not a dictionary"),
        (
            "net.pth",
            lambda p: torch.save(torch.nn.Linear(1, 1), p),
            r"nn.modules.linear.Linear.*keep the weights alone",
        ),
        (
            "mm.pth",
            lambda p: torch.save({"meta": {"cfg": ConfigDict(a=1)}, "state_dict": STATE}, p),
            r"ConfigDict.*torch.save\(\{k: ckpt\[k\] for k in \('state_dict', 'model', 'meta'\)",
        ),
        ("folder", lambda p: p.mkdir(), "directory without model.safetensors or pytorch_model.bin"),
    ],
)
def test_what_cannot_be_read(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(CheckpointError, match=message):
        read_state(tmp_path / name)


def test_code_in_a_pickle_does_not_run(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"state_dict": STATE, "x": Executes(marker)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="mkdir.*can run code"):
        read_state(tmp_path / "w.pth")
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # torch on TorchScript
def test_torchscript_is_named(tmp_path):
    torch.jit.trace(torch.nn.ReLU(), torch.ones(1)).save(tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match="TorchScript archive; save the state dict"):
        read_state(tmp_path / "w.pt")


@pytest.mark.parametrize(("index", "suffix"), [("model.safetensors", "safetensors"), ("pytorch_model.bin", "bin")])
def test_weights_in_several_files_are_read(tmp_path, index, suffix):
    places = {"a": f"part-1-of-2.{suffix}", "b": f"part-2-of-2.{suffix}"}
    for number, (key, name) in enumerate(places.items()):
        value = {key: torch.tensor([float(number)])}
        save_file(value, tmp_path / name) if suffix == "safetensors" else torch.save(value, tmp_path / name)
    (tmp_path / f"{index}.index.json").write_text(json.dumps({"weight_map": places}))
    (tmp_path / "config.json").write_text("{}")
    for path in (tmp_path, tmp_path / f"{index}.index.json"):
        assert read_state(path) == {"a": torch.tensor([0.0]), "b": torch.tensor([1.0])}
        assert read_sidecar(path, "config.json") == {}
    variant = (tmp_path / f"{index}.index.json").rename(tmp_path / f"{index}.index.fp16.json")
    for path in (tmp_path, variant):
        assert read_state(path) == {"a": torch.tensor([0.0]), "b": torch.tensor([1.0])}
        assert read_sidecar(path, "config.json") == {}


def test_a_part_of_the_weights_is_not_all_of_them(tmp_path):
    name = "model.fp16-00002-of-00003.safetensors"
    save_file(STATE, tmp_path / name)
    with pytest.raises(CheckpointError, match=f"{name} is one of 3 files that hold the weights; give the folder"):
        read_state(tmp_path / name)
    whole = (tmp_path / name).rename(tmp_path / "model-00001-of-00001.safetensors")
    assert torch.equal(read_state(whole)["a"], STATE["a"])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{}", "does not say which files"),
        ("[", "is not JSON"),
        ('{"weight_map": {"a": 3}}', "does not say which files"),
        ('{"weight_map": {"a": "../w.safetensors"}}', "does not say which files beside it"),
        ('{"weight_map": {"a": "/w.safetensors"}}', "does not say which files beside it"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors, one of the 1 files of .*, is not there"),
        ('{"weight_map": {"b": "w.safetensors"}}', "promises 1 weights that its files lack, b among them"),
    ],
)
def test_lists_of_files_that_lead_nowhere(tmp_path, document, message):
    save_file(STATE, tmp_path / "w.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(document)
    with pytest.raises(CheckpointError, match=message):
        read_state(tmp_path)


def test_sidecar(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "swin"}))
    for path in (tmp_path, tmp_path / "model.safetensors", str(tmp_path / "pytorch_model.bin")):
        assert read_sidecar(path, "config.json") == {"model_type": "swin"}
    assert read_sidecar(tmp_path / "other.pth", "config.json") is None
    assert read_sidecar(tmp_path, "absent.json") is None


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\xff"])
def test_invalid_sidecar(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="config.json"):
        read_sidecar(tmp_path, "config.json")
