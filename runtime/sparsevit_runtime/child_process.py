"""Starts a module of this package in a Python of its own that imports nothing from the current folder.

`python -m` puts the current folder first on the path of modules, so that a `json.py` there would run. This file is both
sides: `command` for the parent, and the script that the child runs.
"""

import json
import os
import sys
from importlib import import_module, util


def command(module: str) -> list[str]:
    """The command line that runs `main()` of a module in a Python of its own and exits with its answer.

    Modules come from where this process finds them, but for its current folder and what is relative to it. Nothing of
    the environment (PYTHONPATH) changes that.

    Args:
        module: full name of a module of this package.
    """
    # -I leaves out the script's folder, PYTHONPATH and a `sitecustomize` found through it, on every Python from 3.4 on.
    return [sys.executable, "-I", os.path.abspath(__file__), module, json.dumps(clean_path(sys.path))]


def clean_path(path: list[str]) -> list[str]:
    """The entries of a path of modules that do not depend on the current folder, and are not that folder.

    The current folder stays where it is a part of Python's installation.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # the folder is gone
        here = ""
    installed = [os.path.realpath(place) + os.sep for place in (sys.prefix, sys.base_prefix)]
    if any((here + os.sep).startswith(place) for place in installed):
        here = ""
    return [entry for entry in path if os.path.isabs(entry) and os.path.realpath(entry) != here]


def _run(module: str, path: list[str]) -> int:
    """The child's side: the package comes from where this file lies, whatever else the path has of that name."""
    sys.path[:] = path
    folder = os.path.dirname(os.path.abspath(__file__))
    name = module.partition(".")[0]
    spec = util.spec_from_file_location(name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(f"no package {name} in {folder}")
    package = util.module_from_spec(spec)
    sys.modules[name] = package
    spec.loader.exec_module(package)
    return int(import_module(module).main())


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1], json.loads(sys.argv[2])))
