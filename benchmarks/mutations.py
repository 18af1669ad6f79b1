"""Broken inputs by the thousand: is every one refused with an error that was meant, soon and in little memory?

    python benchmarks/mutations.py --count 3000 --seed 1

Each input is a valid one with a few changes: bytes turned, cut or repeated, numbers exchanged for those at the edge of
their range, fields left out. What counts as wrong is an exception that is no `SparseViTError`, ten seconds, or two
gigabytes. Every kind runs in a process of its own, under a limit of memory and an alarm; its number repeats a case.
"""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import os
import random
import resource
import signal
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import typer

from sparsevit_runtime import bundled_models, draw_result, load, open_sink, open_source
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.errors import SparseViTError
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.tensorrt.engine_card import Inputs, read_sidecar, sha256, sidecar_path
from sparsevit_runtime.tensorrt.profile import make_profile
from sparsevit_runtime.texts import printable
from sparsevit_runtime.windows.plan import Plan

SECONDS = 10
MEMORY = 2 << 30
DEPTHS = (2, 2, 6, 2)
#: What stands in for any value of a document.
EDGES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 256, 2**31, 2**63, -(2**63), 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308,
    float("nan"), float("inf"), float("-inf"), "", " ", "0", "0.5", "50%", "nan", "../../etc/passwd", "/etc/passwd",
    "~nobody-here/x", "x" * 300, "x" * 70000, "a\0b", "\x1b]0;x\x07", "[/foo]", "\ud800", "\u202e", "\U0001f697", [],
    {}, [[]], [None], [0] * 1000, {"": 0},
)  # fmt: skip
TEXTS = (
    "", ".5", "50%", "1.0", "-1", "1e9999", "9" * 5000, "[" * 3000, "[0.5,0,0,0]", "[true,true,true,true]",
    "0.6,0,0.4,0", "{", "null", "nan", "inf", "/dev/zero", "/dev/null", "/", "~", "~nobody-here/x.mp4", "x" * 300,
    "x" * 5000, "a\0b", "rtsp:", "rtsp://", "rtsp://[", "rtsp://u:p#w@127.0.0.1:1/x", "http://127.0.0.1:1/a.mp4",
    "synthetic://street", "synthetic://street?size=64x64", "synthetic://street?size=9999999999999x1",
    "synthetic://street?seed=-1", "sample://x", "csi://0", "csi://99?size=1x1", "/dev/video99", "-1", "99",
    "99?size=0x0", "frames/*.png", "[", "**", "null://", "display://x", "out.mp4?x", "out/?format=",
    "out/?format=gif", "x.xyz", ".", "..", "out.jsonl", "\ud800",
)  # fmt: skip


def change_text(text: str, dice: random.Random) -> str:
    """A few letters of a text taken out, repeated, exchanged or put in."""
    letters = list(text)
    for _ in range(dice.randint(0, 4)):
        i = dice.randint(0, len(letters))
        what = dice.randrange(4)
        if what == 0:
            del letters[i : i + dice.randint(1, 4)]
        elif what == 1:
            letters[i:i] = letters[i : i + dice.randint(1, 4)] * dice.choice((1, 2, 50))
        elif what == 2:
            letters[i : i + 1] = dice.choice("0123456789.,%[]{}()?&=:/@#~*\\\"' \n\0\x1bé漢-+eE")
        else:
            letters[i:i] = dice.choice(TEXTS)
    return "".join(letters)


def change_bytes(data: bytes, dice: random.Random) -> bytes:
    """A few bytes of a file turned, cut out, repeated, or the end cut off."""
    changed = bytearray(data)
    for _ in range(dice.randint(1, 8)):
        i = dice.randrange(len(changed) + 1) if dice.random() < 0.5 else dice.randrange(min(len(changed), 400) + 1)
        what = dice.randrange(5)
        if what <= 1 and i < len(changed):
            changed[i] = dice.choice((0, 255, 127, 128, changed[i] ^ 1 << dice.randrange(8)))
        elif what == 2:
            del changed[i : i + dice.randint(1, 64)]
        elif what == 3:
            changed[i:i] = changed[i : i + dice.randint(1, 64)]
        elif dice.random() < 0.3:
            del changed[i:]
    return bytes(changed)


def change_document(document: Any, dice: random.Random) -> Any:
    """A few values of a document exchanged, left out, repeated or of another name."""
    changed = copy.deepcopy(document)
    for _ in range(dice.randint(1, 3)):
        places = list(_places(changed))
        if not places:
            break
        holder, key = dice.choice(places)
        what = dice.randrange(10)
        if what == 0:
            del holder[key]
        elif what == 1 and isinstance(holder, list):
            holder[key:key] = [copy.deepcopy(holder[key])] * dice.choice((1, 2, 300))
        elif what == 2 and isinstance(holder, dict):
            holder[str(dice.choice(EDGES))] = holder.pop(key)
        elif what == 3 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = holder[key] * dice.choice((-1, 0, 2, 1000, 10**9, 0.5))
        elif what == 4 and isinstance(holder[key], str):
            holder[key] = change_text(holder[key], dice)
        else:
            holder[key] = copy.deepcopy(dice.choice(EDGES))
    return changed


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = range(len(document)) if isinstance(document, list) else list(document) if isinstance(document, dict) else ()
    for key in keys:
        yield document, key
        yield from _places(document[key])


def as_json(document: Any, dice: random.Random) -> str:
    """The text of a document; now and then with its letters changed."""
    try:
        text = json.dumps(document)
    except ValueError:  # an integer too long to write
        text = "9" * 5000
    return change_text(text, dice) if dice.random() < 0.2 else text


class Kinds:
    """What is broken, and what reads it: a method a kind. Each makes one case and reads it.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._model = min(bundled_models().values(), key=lambda path: path.stat().st_size)
        self._data = self._model.read_bytes()
        self._card = json.loads(read_onnx(self._model).card.to_json())
        self._card["checks"] = self._card["checks"][:1]  # most of its length is a record of figures
        for output in self._card["checks"][0]["outputs"]:
            output["positions"], output["values"] = output["positions"][:1], output["values"][:1]
        self._frame = np.zeros((48, 64, 3), np.uint8)

    def plan(self, dice: random.Random) -> None:
        """Sparsities, as a caller and as the command line give them, and plan files."""
        path = self._folder / "plan.json"
        Plan.uniform(0.5, DEPTHS).save(path, {"made": "here"})
        what = dice.randrange(3)
        if what == 0:
            Plan.parse(change_text(dice.choice(TEXTS), dice), DEPTHS)
        elif what == 1:
            Plan.parse(change_document({"": [0.5, [0.5, 0.5], [0, 0.2, 0.4], 0.5]}, dice).get(""), DEPTHS)
        else:
            path.write_text(as_json(change_document(json.loads(path.read_text()), dice), dice), errors="replace")
            Plan.parse(path, DEPTHS)

    def card(self, dice: random.Random) -> None:
        """Model cards by themselves, and what is worked out from those that are taken."""
        text = as_json(change_document(self._card, dice), dice)
        card = ModelCard.from_json(text)
        make_profile(card)
        assert card.to_json()

    def carried_card(self, dice: random.Random) -> None:
        """A model file whose card is another: opened, and run where that is taken."""
        card = as_json(change_document(self._card, dice), dice)
        ModelCard.from_json(card)  # opening a model takes a second: not for cards that are refused anyway
        path = self._folder / "carded.onnx"
        path.write_bytes(self._with_card(card.encode(errors="surrogatepass")))
        with load(path, threads=1) as model:
            result = model(self._frame, 0.5, activity=True)
            json.dumps(result.to_dict())
            draw_result(self._frame, result)

    def onnx(self, dice: random.Random) -> None:
        """Model files with other bytes, as the builder reads them."""
        path = self._folder / "changed.onnx"
        path.write_bytes(change_bytes(self._data, dice))
        read_onnx(path)

    def opened_onnx(self, dice: random.Random) -> None:
        """Model files with other bytes, opened and run."""
        path = self._folder / "changed.onnx"
        path.write_bytes(change_bytes(self._data, dice))
        with load(path, threads=1) as model:
            model(self._frame, 0.5)

    def engine(self, dice: random.Random) -> None:
        """Side-cars of engines."""
        card = ModelCard.model_validate(self._card)
        data = b"an engine"
        inputs = Inputs(
            onnx_sha256=sha256(self._data),
            plugins_sha256=sha256(b""),
            tensorrt="tensorrt 10.3.0",
            gpu="none",
            precision="fp32",
            tf32=False,
            profile=make_profile(card),
        )
        document = {
            "schema_version": 1,
            "inputs": inputs.model_dump(mode="json"),
            "engine_sha256": sha256(data),
            "engine_bytes": len(data),
            "plugins_path": "/tmp/lib.so",
            "plugin_layers": 20,
            "arithmetic": {"FLOAT": 30},
            "precision_checked": "network",
            "workspace_mib": 1024,
            "model": self._card,
        }
        path = self._folder / "m.engine"
        path.write_bytes(data)
        text = as_json(change_document(document, dice), dice)
        sidecar_path(path).write_bytes(text.encode(errors="surrogatepass"))
        read_sidecar(path)
        load(path)

    def image(self, dice: random.Random) -> None:
        """Pictures of several formats with other bytes, each read as a source and in a folder."""
        picture = np.random.default_rng(dice.randrange(2**32)).integers(0, 256, (24, 32, 3), np.uint8)
        suffix = dice.choice((".png", ".jpg", ".bmp", ".webp", ".tiff", ".ppm"))
        path = self._folder / "pictures" / f"p{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(change_bytes(cv2.imencode(suffix, picture)[1].tobytes(), dice))
        try:
            source = open_source(path if dice.random() < 0.5 else path.parent)
            while source.read() is not None:
                pass
            source.close()
        finally:
            path.unlink()

    def uri(self, dice: random.Random) -> None:
        """Addresses and names of sources and sinks. Nothing outside this machine is asked."""
        text = change_text(dice.choice(TEXTS), dice)
        if "://" in text and not text.startswith(("synthetic", "sample", "csi", "null", "display")):
            text = text.partition("://")[0] + "://127.0.0.1:1/" + text[-20:]
        if dice.random() < 0.5:
            open_sink(text).close()
        else:
            open_source(text).close()

    def _with_card(self, card: bytes) -> bytes:
        """The model file with a second card behind the first, which is the one that counts."""

        def field(number: int, content: bytes) -> bytes:
            size, length = bytearray(), len(content)
            while length > 127:
                size.append(length & 127 | 128)
                length >>= 7
            return bytes([number << 3 | 2]) + bytes(size) + bytes([length]) + content

        return self._data + field(14, field(1, b"sparsevit_card") + field(2, card))


KINDS = ("plan", "card", "carried_card", "onnx", "opened_onnx", "engine", "image", "uri")


class TooSlowError(BaseException):
    """Not an Exception, so that nothing on the way takes it for its own."""


@contextmanager
def limits() -> Iterator[None]:
    """Raises TooSlowError in this thread after the time allowed."""

    def stop(*_: object) -> None:
        raise TooSlowError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


def run_kind(kind: str, seed: int, first: int, count: int, say: Any) -> None:
    """Runs cases of a kind, in a process of its own; says (case, verdict, details) of each."""
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what the codecs have to say
    here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (here + MEMORY, here + MEMORY))
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        kinds = Kinds(Path(name))
        case: Callable[[random.Random], None] = getattr(kinds, kind)
        for number in range(first, first + count):
            say.send((number, "begun", ""))
            verdict, details = "taken", ""
            try:
                with limits():
                    case(random.Random(f"{seed} {kind} {number}"))
            except SparseViTError:
                verdict = "refused"
            except TooSlowError:
                verdict, details = "slow", "".join(traceback.format_stack(limit=3))
            except MemoryError:
                verdict, details = "memory", traceback.format_exc(limit=-3)
            except Exception:
                verdict, details = "untyped", traceback.format_exc(limit=-3)
            say.send((number, verdict, details))
    say.send((first + count, "done", ""))


def watch(kind: str, seed: int, count: int, shown: int) -> Counter[str]:
    """All cases of a kind; a process that ends or hangs in the middle is a finding, and the rest goes on."""
    found: Counter[str] = Counter()
    context, number = multiprocessing.get_context("spawn"), 0
    while number < count:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=run_kind, args=(kind, seed, number, count - number, theirs))
        process.start()
        theirs.close()
        while True:
            try:
                answer = ours.recv() if ours.poll(6 * SECONDS) else None  # what does not return to Python hangs, too
            except EOFError:
                process.join(SECONDS)
                answer = (number, f"ended: {process.exitcode}", "")
            at, verdict, details = answer or (number, "hung", "")
            number = at
            if verdict == "begun":
                continue
            number = at + (verdict != "done")
            if verdict != "done":
                found[verdict] += 1
                if verdict not in ("taken", "refused") and found[verdict] <= shown:
                    print(f"--- {kind} {at}: {verdict}\n{printable(details, keep=chr(10))}", flush=True)
            if answer is None or verdict == "done" or verdict.startswith("ended"):
                break
        process.kill()
        process.join()
    return found


def main(
    count: Annotated[int, typer.Option(help="Cases of each kind.", min=1)] = 500,
    seed: Annotated[int, typer.Option(help="Another seed, other cases.")] = 0,
    kind: Annotated[list[str] | None, typer.Option(help=f"Of {', '.join(KINDS)}; all unless given.")] = None,
    shown: Annotated[int, typer.Option(help="Findings of a sort that are shown whole.")] = 3,
) -> None:
    """Breaks inputs and reports those that are not refused as they should."""
    wrong = 0
    for name in kind or KINDS:
        found = watch(name, seed, count, shown)
        wrong += sum(number for verdict, number in found.items() if verdict not in ("taken", "refused"))
        print(f"{name}: {', '.join(f'{number} {verdict}' for verdict, number in sorted(found.items()))}", flush=True)
    raise typer.Exit(int(wrong > 0))


if __name__ == "__main__":
    typer.run(main)
