"""What a device reads, broken: plans, cards, model files, side-cars, pictures, addresses."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import cv2
import numpy as np

from mutation_changes import TEXTS, as_json, change_bytes, change_document, change_text
from sparsevit_runtime import bundled_models, draw_result, load, open_sink, open_source
from sparsevit_runtime.card import ModelCard
from sparsevit_runtime.graph.onnx_file import read_onnx
from sparsevit_runtime.tensorrt.engine_card import Inputs, read_sidecar, sha256, sidecar_path
from sparsevit_runtime.tensorrt.profile import make_profile
from sparsevit_runtime.windows.plan import Plan

DEPTHS = (2, 2, 6, 2)


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
        """Addresses and names of sources and sinks. Nothing outside this machine is asked, and nothing outside the
        current folder written."""
        text = change_text(dice.choice(TEXTS), dice)
        if "://" in text and not text.startswith(("synthetic", "sample", "csi", "null", "display")):
            text = text.partition("://")[0] + "://127.0.0.1:1/" + text[-20:]
        if dice.random() < 0.5:
            outside = text.startswith(("/", "~")) or ".." in text
            open_sink(text.replace("..", ".").lstrip("/~") if outside and not os.path.exists(text) else text).close()
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
