"""The order of the tests where several processes share them."""

from __future__ import annotations

import os

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
