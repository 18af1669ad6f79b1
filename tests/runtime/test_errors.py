import inspect

import pytest

from sparsevit_runtime import errors


@pytest.mark.parametrize("error", [e for _, e in inspect.getmembers(errors, inspect.isclass)])
def test_one_base_catches_every_error(error):
    assert issubclass(error, errors.SparseViTError)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (errors.PlanError, ValueError),
        (errors.FrameError, ValueError),
        (errors.MissingDependencyError, ImportError),
        (errors.CardError, errors.ModelError),
    ],
)
def test_errors_are_also_what_python_callers_expect(error, base):
    assert issubclass(error, base)
