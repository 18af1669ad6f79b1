"""What all tests share: their order where several processes run them, and how PyTorch's exporter starts."""

from __future__ import annotations

import copy
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import pytest

#: Fixtures that export a network, which takes many seconds wherever it is done first.
_EXPORTING = {"exported", "features", "golden_file", "to_search"}


@pytest.hookimpl(tryfirst=True)  # before anything is chosen by its markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What exports a network is slow. Slow ones go first, so that no process is left with one of them at the end."""
    for item in items:
        if _EXPORTING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """At every export PyTorch reads the source of its 500 translations to ONNX anew; here, once in a process.

    Only where a test has imported what does so, and has it in this form: otherwise exports take longer, and no more.
    """
    translation = getattr(sys.modules.get("onnxscript._internal.values"), "TracedOnnxFunction", None)
    parsed = getattr(translation, "function_ir", None)
    if isinstance(parsed, property) and parsed.fget is not None:
        kept = functools.cached_property(parsed.fget)
        kept.__set_name__(translation, "function_ir")
        translation.function_ir = kept
    # It is imported with the first export.
    registry = getattr(sys.modules.get("torch.onnx._internal.exporter._registration"), "ONNXRegistry", None)
    if registry is not None and isinstance(vars(registry).get("from_torchlib"), classmethod):
        registry.from_torchlib = staticmethod(_read_once(registry.from_torchlib))


def _read_once(read: Callable[..., Any]) -> Callable[..., Any]:
    """Copies of what is read: an export puts its own translations before those that are there."""
    once = functools.cache(read)

    def copied(*args: object, **options: object) -> Any:
        translations = copy.copy(once(*args, **options))
        translations.functions = {name: list(found) for name, found in translations.functions.items()}
        return translations

    return copied
