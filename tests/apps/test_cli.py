from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

import sparsevit_runtime
import tiny
from played import play
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import SparseViTError

STREET = "synthetic://street?size=96x64&frames=3"


@pytest.fixture
def python(environment):
    """Runs code in a fresh interpreter."""

    def run(code: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-c", code]
        return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60, check=False)

    return run


def test_help_names_every_command(sparsevit):
    said = sparsevit("--help")
    assert said.code == 0
    assert all(name in said.out for name in ("run", "inspect", "profile", "check", "doctor", "export"))


@pytest.mark.parametrize("command", ["run", "inspect", "profile", "check", "doctor", "export"])
def test_every_command_has_help(sparsevit, command):
    said = sparsevit(command, "--help")
    assert said.code == 0
    assert "Usage" in said.out


@pytest.mark.parametrize("line", [["--help"], ["run", "--help"]])
def test_help_tells_the_exit_codes(sparsevit, line):
    told = " ".join(sparsevit(*line).out.split())
    assert all(f"{code} " in told.partition("Exit codes:")[2] for code in (0, 1, 2, 3, 4, 129, 130, 143))


def test_version(sparsevit):
    assert sparsevit("--version").out.strip() == f"sparsevit-edge {sparsevit_runtime.__version__}"


def test_help_needs_nothing_heavy(python):
    heavy = ["torch", "onnx", "onnxruntime", "numpy", "cv2", "matplotlib", "supervision", "sparsevit_exporter"]
    done = python(
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from sparsevit_apps.cli import app\n"
        "assert CliRunner().invoke(app, ['export', '--help']).exit_code == 0\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_commands_of_the_device_need_no_torch_or_onnx(python, checked_model, tmp_path):
    model = str(checked_model())
    lines = [
        ["run", STREET, str(tmp_path / "out.mp4"), str(tmp_path / "out.jsonl"), "-m", model, "--activity"],
        ["inspect", model],
        ["check", model],
        ["profile", model, "--sweep", "0.5", "--iterations", "1", "--source", STREET],
        ["doctor"],
    ]
    extras = ["torch", "onnx", "onnxscript", "matplotlib", "supervision", "sparsevit_exporter", "sparsevit_training"]
    done = python(
        "import json, sys\n"
        f"extras = {extras}\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in extras: raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name in extras else find(name, *a)\n"
        "from typer.testing import CliRunner\n"
        "from sparsevit_apps.cli import app\n"
        f"for line in {lines}:\n"
        "    result = CliRunner().invoke(app, line)\n"
        "    print(line[0], result.exit_code, repr(result.exception))\n"
    )
    answers = [line.split()[:2] for line in done.stdout.splitlines()]
    assert answers == [[line[0], "0"] for line in lines], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["export", "x.pth", "-o", "out.onnx", "--size", "64"], "torch"),
        (["profile", "MODEL", "--plot", "out.png"], "matplotlib"),
    ],
)
def test_a_missing_extra_is_told_with_its_remedy(python, tiny_model, tmp_path, arguments, module):
    line = [str(tiny_model()) if a == "MODEL" else str(tmp_path / a) if a.startswith("out.") else a for a in arguments]
    extra = {"torch": "export", "matplotlib": "plot"}[module]
    done = python(
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"  # what import does for a module that is not there
        f"sys.argv = ['sparsevit', *{line}]\n"
        "from sparsevit_apps.cli import main\n"
        "main()"
    )
    assert done.returncode == 1
    assert f"error: {module} is not installed" in done.stderr
    assert f"pip install 'sparsevit-edge[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def broken(tmp_path, tiny_model):
    """Files that are not what they seem, by name."""
    (tmp_path / "noise.mp4").write_bytes(np.random.RandomState(0).bytes(5000))
    (tmp_path / "text.onnx").write_text("not a graph")
    (tmp_path / "short.onnx").write_bytes(tiny_model("whole").read_bytes()[:700])
    newer = ModelCard.model_validate(tiny.card_document()).model_dump(mode="json") | {"schema_version": 99}
    tiny_model("newer", card=json.dumps(newer))
    tiny_model("foreign", card="")
    tiny_model("good")
    cv2.imwrite(str(tmp_path / "grey.png"), np.zeros((8, 8), np.uint8))
    return tmp_path


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run {}/no.mp4 null:// -m {}/good.onnx", "there is no file"),
        ("run {}/noise.mp4 null:// -m {}/good.onnx", "cannot decode"),
        ("run synthetic://moon null:// -m {}/good.onnx", "street"),
        ("run /dev/video97 null:// -m {}/good.onnx", "no camera /dev/video97"),
        ("run STREET {}/missing/out.mp4 -m {}/good.onnx", "mkdir -p"),
        ("run STREET {}/out.xyz -m {}/good.onnx", "cannot write"),
        ("run STREET {}/out.webp -m {}/good.onnx", "takes one picture"),
        ("run STREET null:// -m {}/text.onnx", "cannot open"),
        ("run STREET null:// -m {}/short.onnx", "cannot open"),
        ("run STREET null:// -m {}/foreign.onnx", "no model card"),
        ("run STREET null:// -m {}/newer.onnx", "upgrade sparsevit-edge"),
        ("run STREET null:// -m no-such-model", "bundled"),
        ("run STREET null:// -m {}/good.onnx -s 1.5", "from 0 to 1"),
        ("run STREET null:// -m {}/good.onnx -s 0.5,0.5,0.5", "3 stages"),
        ("run STREET null:// -m {}/good.onnx -s {}/none.json", "no plan file"),
        ("run STREET null:// -m {}/good.onnx --backend quantum", "no backend"),
        ("run STREET null:// -m {}/good.onnx --device tpu", "no device"),
        ("run STREET null:// -m {}/good.onnx --activity --stage 2", "stages 0 to 1"),
        ("inspect {}/foreign.onnx", "no model card"),
        ("inspect {}/grey.png", "suffix"),
        ("check {}/good.onnx", "no recorded outputs"),
        ("profile {}/good.onnx --sweep 0,2", "from 0 to 1"),
        ("profile {}/good.onnx --sweep 0,,1", "empty entry"),
        ("profile {}/good.onnx --json {}/missing/p.json", "mkdir -p"),
        ("export {}/none.pth -o {}/out.onnx --size 64", "no checkpoint"),
        ("export {}/good.onnx -o {}/missing/out.onnx --size 64", "mkdir -p"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(sparsevit, broken, line, words):
    before = sorted(broken.iterdir())
    said = sparsevit(*line.replace("STREET", STREET).replace("{}", str(broken)).split())
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert sorted(broken.iterdir()) == before


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fly",
        "run",
        "run a b --threads 0",
        "run a b --threshold 2",
        "run a b --frames none",
        "profile --iterations 0",
        "profile --plot p.jpg",
        "export c.pth",
        "export c.pth -o m.onnx --size 0x4",
        "export c.pth -o m.onnx --size wide",
        "export c.pth -o m.engine --size 64",
        "export c.pth -o m.onnx --size 64 --plan 0.5",
        "export c.pth -o m.onnx --size 64 --fixed",
        "export c.pth -o m.onnx --size 64 --task depth",
        "export c.pth -o m.onnx --size 64 --proposals 0",
        "export c.pth -o m.onnx --size 64 --score-threshold 2",
        "export c.pth -o m.onnx --size 64 --resize crop",
    ],
)
def test_wrong_usage(sparsevit, line):
    said = sparsevit(*line.split())
    assert said.code == 2
    assert "Usage" in said.out + said.err


def test_debug_shows_the_traceback(sparsevit):
    with pytest.raises(SparseViTError, match="no model"):
        sparsevit("--debug", "inspect", "nothing-here")


@pytest.mark.parametrize(
    "words",
    [
        ("run", "{long}"),
        ("run", "synthetic://street?frames=1", "out.mp4", "{long}"),
        ("inspect", "{long}"),
        ("check", "street-scenes", "--against", "{long}"),
        ("export", "{long}", "-o", "x.onnx"),
        ("eval", "street-scenes", "{long}"),
        ("adapt", "{long}"),
    ],
    ids=lambda words: words[0],
)
def test_a_name_that_no_file_can_have_is_told_in_a_line(sparsevit, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    told = sparsevit(*(word.format(long="[" * 3000) for word in words))
    assert told.code == 1 and "too long" in " ".join(told.err.split()) and "Traceback" not in told.err


@pytest.mark.parametrize("closed", [(2,), (0, 1), (0, 1, 2)], ids=str)
def test_closed_streams_cost_what_they_would_have_shown(environment, tiny_model, tmp_path, closed):
    """Files that are opened instead are not written into by whoever tells something."""

    def close() -> None:
        for number in closed:
            os.close(number)

    places = [str(tmp_path / name) for name in ("out.mp4", "out.jsonl")]
    line = [sys.executable, "-m", "sparsevit_apps.cli", "run", STREET, *places, "-m", str(tiny_model())]
    done = subprocess.run(
        line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=close, timeout=60
    )
    assert done.returncode == int(1 in closed) and "Traceback" not in done.stderr
    if 1 in closed and 2 not in closed:
        assert done.stderr == "error: cannot write to stdout (Bad file descriptor)\n"
    assert [json.loads(text)["frame"] for text in (tmp_path / "out.jsonl").read_text().splitlines()] == [0, 1, 2]
    assert len(play(tmp_path / "out.mp4").times_s) == 3


@pytest.mark.parametrize("line", ["inspect MODEL", "--help"])
def test_a_full_stdout_is_told_in_a_line(environment, tiny_model, line):
    words = [str(tiny_model()) if word == "MODEL" else word for word in line.split()]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sparsevit_apps.cli", *words], env=environment, stdout=full,
            stderr=subprocess.PIPE, text=True, timeout=60,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "error: cannot write to stdout (No space left on device)\n")
