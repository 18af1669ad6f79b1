"""What a workstation reads, broken: COCO JSON, recipes, checkpoints; and whole command lines."""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from mutation_changes import TEXTS, as_json, change_bytes, change_document, change_text
from sparsevit_apps.cli import app
from sparsevit_exporter import SparseViT, load_checkpoint
from sparsevit_exporter.tasks import task_of
from sparsevit_runtime import bundled_models
from sparsevit_runtime.errors import SparseViTError
from sparsevit_training.datasets import CocoBoxes, CocoMasks
from sparsevit_training.recipe import load_recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "training" / "recipes").glob("*.yaml"))
#: Lines that work where the files are; MODEL, PHOTO, CLIP, CHECKPOINT, COCO and RECIPE stand for some.
LINES = (
    "run PHOTO out.jpg --frames 1", "run CLIP out.mp4 --frames 1 --sparsity 0.5", "run PHOTO - --frames 1",
    "run PHOTO CLIP -o out/ --frames 1 --activity --stage 1", "run CLIP out.jsonl?masks=rle --frames 1 --threshold .3",
    "run synthetic://street?size=64x64 null:// --frames 1 --model MODEL --backend onnxruntime --threads 1",
    "inspect MODEL", "inspect MODEL --json", "check MODEL --threads 1", "check MODEL --against MODEL",
    "profile MODEL --iterations 1 --warm-up 1 --sweep 0,0.5 --json p.json", "doctor --json", "-q inspect MODEL -v",
    "profile MODEL --iterations 1 --batch 2 --sweep 0 --plot p.png",
    "export CHECKPOINT -o out.onnx --size 0x0 --task backbone --precision fp16", "build MODEL -o m.engine --batch 1",
    "build MODEL -o m.engine --portable --workspace 64 --flavour tensorrt", "eval MODEL COCO --split val --sweep 0",
    "eval MODEL COCO --classes car,person --json e.json --sweep 0,0.5", "adapt RECIPE --set schedule.steps=0",
    "search MODEL COCO -o plan.json --split val --budget-ratio 0.8 --evaluations 1", "--version", "run --help",
)  # fmt: skip


class TrainingKinds:
    """As `Kinds`, for what a device never sees.

    Args:
        folder: an empty folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        images = folder / "val"
        images.mkdir()
        picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        for number in range(3):
            cv2.imwrite(str(images / f"{number}.png"), picture)
        polygon = [4.0, 4.0, 30.0, 4.0, 30.0, 30.0, 4.0, 30.0]
        objects = [
            {"id": i, "image_id": i % 3, "category_id": i % 2, "bbox": [4, 4, 26, 26], "area": 676.0, "iscrowd": 0,
             "segmentation": [polygon] if i < 3 else {"size": [48, 64], "counts": [1000, 50, 2022]}}
            for i in range(5)
        ]  # fmt: skip
        self._coco: dict[str, Any] = {
            "images": [{"id": i, "file_name": f"{i}.png", "width": 64, "height": 48} for i in range(3)],
            "categories": [{"id": i, "name": name} for i, name in enumerate(("person", "car"))],
            "annotations": objects,
        }
        annotations = folder / "annotations"
        annotations.mkdir()
        self._annotations = annotations / "instances_val.json"
        self._annotations.write_text(json.dumps(self._coco))
        self._recipes = [yaml.safe_load(path.read_text()) for path in RECIPES]
        torch.manual_seed(0)
        network = SparseViT(8, (1, 1), (1, 2), window_size=4)
        self._native = {
            "format": "sparsevit-edge",
            "version": 1,
            "task": task_of(network).name,
            "config": {"backbone": network.config, "head": None},
            "classes": [],
            "state_dict": network.state_dict(),
            "input": {"height": 96, "width": 64, "mean": [1.0, 2.0, 3.0], "std": [1.0, 1.0, 1.0]},
            "training": {},
            "metrics": [],
        }
        self._words = self._named(bundled_models()["road-users"])

    def coco(self, dice: random.Random) -> None:
        """Annotations of objects, read as boxes and as masks, every sample."""
        path = self._folder / "coco.json"
        text = as_json(change_document(self._coco, dice), dice)
        path.write_bytes(text.encode(errors="surrogatepass"))
        categories = dice.choice((None, ["car"], ["person", "car"]))
        kind = dice.choice((CocoBoxes, CocoMasks))
        dataset = kind(path, self._folder / "val", categories)
        for i in range(len(dataset)):
            dataset[i]

    def recipe(self, dice: random.Random) -> None:
        """Recipes with other values, and overrides as `--set` gives them."""
        path = self._folder / "recipe.yaml"
        document = change_document(dice.choice(self._recipes), dice)
        try:
            text = yaml.safe_dump(document)
        except (yaml.YAMLError, ValueError):  # an integer too long to write
            text = "seed: " + "9" * 5000
        path.write_bytes((change_text(text, dice) if dice.random() < 0.3 else text).encode(errors="surrogatepass"))
        keys = (
            "schedule.steps",
            "data.0.root",
            "data.99.root",
            "seed.x",
            "",
            ".",
            "model",
            "data.-1",
            "crops.0.height",
        )
        load_recipe(path, {dice.choice(keys): dice.choice((1, "", None, [], 1e308))} if dice.random() < 0.3 else None)

    def checkpoint(self, dice: random.Random) -> None:
        """Checkpoints with other headers, other tensors, other bytes, in both kinds of file."""
        what = dice.randrange(4)
        document = self._with_other_tensors(dice) if what == 0 else copy.deepcopy(self._native)
        if what == 1:
            header = {key: value for key, value in document.items() if key != "state_dict"}
            document = {**change_document(header, dice), "state_dict": document["state_dict"]}
        if what == 3:
            path = self._folder / "c.safetensors"
            tensors = {key: value.contiguous() for key, value in self._with_other_tensors(dice)["state_dict"].items()}
            # Its names are UTF-8, and meta tensors have nothing to write.
            save_file({k.encode(errors="replace").decode(): v for k, v in tensors.items() if not v.is_meta}, path)
        else:
            path = self._folder / "c.pth"
            torch.save(document, path)
        if what >= 2 or dice.random() < 0.2:
            path.write_bytes(change_bytes(path.read_bytes(), dice))
        load_checkpoint(path)

    def command(self, dice: random.Random) -> None:
        """Command lines with words left out, doubled, changed, or from another line. Nothing outside this machine is
        asked, and nothing outside the current folder written."""
        words = dice.choice(LINES).split()
        for _ in range(dice.randint(1, 3)):
            i, what = dice.randrange(len(words)), dice.randrange(6)
            if what == 0 and len(words) > 1:
                del words[i]
            elif what == 1:
                words.insert(i, words[i])
            elif what == 2:
                words.insert(i, dice.choice(dice.choice(LINES).split()))
            elif what == 3:
                words[i] = dice.choice(TEXTS)
            else:
                words[i] = change_text(words[i], dice)
        for name in os.listdir():
            if os.path.isfile(name):
                os.unlink(name)
        words = [self._within(self._words.get(word, word)) for word in words]
        try:
            app([word for word in words if word not in ("--overwrite", "--energy", "--soak")], prog_name="sparsevit")
        except SystemExit as end:
            if end.code:
                raise SparseViTError(str(end.code)) from end

    def _within(self, word: str) -> str:
        if word in self._words.values():
            return word
        if "://" in word and not word.startswith(("synthetic", "sample", "csi", "null", "display")):
            return word.partition("://")[0] + "://127.0.0.1:1/" + word[-20:]
        return word.replace("..", ".").lstrip("/~")

    def _named(self, model: Path) -> dict[str, str]:
        """The files that the words of `LINES` stand for."""
        paths = {name: self._folder / f"{name.lower()}{suffix}" for name, suffix in
                 (("PHOTO", ".jpg"), ("CLIP", ".avi"), ("CHECKPOINT", ".pth"))}  # fmt: skip
        picture = np.zeros((48, 64, 3), np.uint8)
        cv2.imwrite(str(paths["PHOTO"]), picture)
        clip = cv2.VideoWriter(str(paths["CLIP"]), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
        for _ in range(3):
            clip.write(picture)
        clip.release()
        torch.save(self._native, paths["CHECKPOINT"])
        return {
            **{name: str(path) for name, path in paths.items()},
            "MODEL": str(model),
            "COCO": str(self._folder),
            "RECIPE": str(RECIPES[0]),
        }

    def _with_other_tensors(self, dice: random.Random) -> dict[str, Any]:
        document = copy.copy(self._native)
        state: dict[str, Any] = dict(document["state_dict"])
        for _ in range(dice.randint(1, 3)):
            key = dice.choice(list(state))
            tensor, what = state[key], dice.randrange(8)
            if what == 0:
                del state[key]
            elif what == 1:
                state[change_text(key, dice)] = tensor.clone()
            elif what == 2:
                state[key] = tensor.to(dice.choice((torch.float16, torch.int8, torch.bool, torch.complex64)))
            elif what == 3:
                state[key] = torch.empty_like(tensor, device="meta")
            elif what == 4:
                state[key] = tensor.flatten()[: dice.randint(0, tensor.numel())].clone()
            elif what == 5:
                state[key] = torch.full_like(tensor.float(), dice.choice((float("nan"), float("inf"), 1e38, 0)))
            elif what == 6:
                state[key] = tensor.unsqueeze(dice.randint(0, tensor.ndim)).clone()
            else:
                state[key] = tensor.transpose(0, -1).contiguous()
        document["state_dict"] = state
        return document
