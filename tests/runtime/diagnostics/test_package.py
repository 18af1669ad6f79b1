from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import sparsevit_runtime
from sparsevit_runtime import diagnostics


def test_every_public_name_is_there():
    for name in diagnostics.__all__:
        assert getattr(diagnostics, name) is not None
    assert set(diagnostics.__all__) <= set(dir(diagnostics))
    with pytest.raises(AttributeError, match="no attribute 'chek'"):
        getattr(diagnostics, "chek")  # noqa: B009 - a plain access reads as a useless expression


@pytest.mark.slow
def test_nothing_of_the_command_line_is_needed(tiny_model):
    code = (
        "import sys\n"
        "for name in ('rich', 'typer', 'matplotlib'): sys.modules[name] = None\n"
        "from sparsevit_runtime import diagnostics, load\n"
        "for name in diagnostics.__all__: getattr(diagnostics, name)\n"
        f"with load({str(tiny_model())!r}, threads=1) as model:\n"
        "    print(diagnostics.profile(model, iterations=1, warm_up=0).entries[0].sparsity)\n"
    )
    where = str(Path(sparsevit_runtime.__file__).parents[1])
    street = str(Path(where).parent / "street")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = [{where!r}, {street!r}]\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("dense\n", 0), done.stderr
