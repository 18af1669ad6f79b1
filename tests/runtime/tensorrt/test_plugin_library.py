import pytest

from sparsevit_runtime.errors import BuildError
from sparsevit_runtime.tensorrt import plugin_library as module
from sparsevit_runtime.tensorrt.engine_card import sha256
from sparsevit_runtime.tensorrt.plugin_library import find_plugins, find_plugins_to_run

ELF = b"\x7fELF"
NOTE = b"\0sparsevit-plugins tensorrt=10.3 cudart=12060 architectures=87,110\0more"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The three places, each with a library."""
    found = {}
    for name in ("given", "variable", "package"):
        found[name] = tmp_path / f"{name}.so"
        found[name].write_bytes(ELF + name.encode())
    monkeypatch.setenv("SPARSEVIT_PLUGINS", str(found["variable"]))
    monkeypatch.setattr(module, "_PACKAGED", found["package"])
    return found


def test_the_nearest_place_goes_first(places, monkeypatch):
    assert find_plugins(places["given"]).path == places["given"]
    assert find_plugins().path == places["variable"]
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    assert find_plugins().path == places["package"]


def test_a_named_place_without_a_library_is_not_passed_over(places, monkeypatch):
    places["given"].unlink()
    with pytest.raises(BuildError, match=r"looked for .*given.so \(--plugins\)"):
        find_plugins(places["given"])
    places["variable"].unlink()
    with pytest.raises(BuildError, match=r"looked for .*variable.so \(\$SPARSEVIT_PLUGINS\)"):
        find_plugins()
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    places["package"].unlink()
    with pytest.raises(BuildError, match=r"package.so \(the package; neither --plugins nor \$SPARSEVIT_PLUGINS"):
        find_plugins()


def test_an_engine_runs_with_the_library_it_was_built_with(places, monkeypatch):
    built_with = str(places["given"]), sha256(places["given"].read_bytes())
    assert find_plugins_to_run(*built_with).path == places["variable"]
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    assert find_plugins_to_run(*built_with).path == places["given"]
    assert find_plugins_to_run().path == places["package"]  # of an engine whose card does not know
    places["given"].write_bytes(ELF + b"compiled again")
    assert find_plugins_to_run(*built_with).path == places["package"]
    places["given"].unlink()
    assert find_plugins_to_run(*built_with).path == places["package"]


def test_no_library_to_run_with_names_every_place_and_what_helps_there(places, monkeypatch):
    built_with = str(places["given"]), "0" * 64
    for name in ("package", "variable"):
        places[name].unlink()
    with pytest.raises(BuildError, match=r"looked for \S+variable.so \(\$SPARSEVIT_PLUGINS\)\. Name") as error:
        find_plugins_to_run(*built_with)
    assert "--plugins" not in str(error.value)  # an option of `build` alone
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    message = (
        r"\S+given.so \(the engine was built with it; it is another file now\) and \S+package.so \(the package; \$"
    )
    with pytest.raises(BuildError, match=message):
        find_plugins_to_run(*built_with)
    places["given"].unlink()
    with pytest.raises(BuildError, match=r"looked for \S+given.so \(the engine was built with it\) and \S+package.so"):
        find_plugins_to_run(*built_with)


def test_a_folder_or_a_text_is_no_library(places, tmp_path):
    with pytest.raises(BuildError, match="no plugin library"):
        find_plugins(tmp_path)
    places["given"].write_text("not a library")
    with pytest.raises(BuildError, match=r"given.so \(13 bytes\) is not a shared library"):
        find_plugins(places["given"])


def test_what_the_library_was_built_for(places):
    assert find_plugins(places["given"]).built_for == ""
    places["given"].write_bytes(ELF + NOTE)
    assert find_plugins(places["given"]).built_for == "tensorrt=10.3 cudart=12060 architectures=87,110"


@pytest.mark.parametrize(
    ("flavour", "version", "fits"),
    [
        ("tensorrt", "10.3.0", True),
        ("tensorrt", "11.4.0.6", True),
        ("tensorrt", "9.3.0", False),
        ("tensorrt_rtx", "1.7.1.116", True),
    ],
)
def test_a_library_for_a_later_major_version_is_refused(places, flavour, version, fits):
    places["given"].write_bytes(ELF + NOTE)
    library = find_plugins(places["given"])
    if fits:
        library.check_version(flavour, version)
    else:
        with pytest.raises(BuildError, match="given.so was built for tensorrt=10.3, here is TensorRT 9.3.0"):
            library.check_version(flavour, version)
    find_plugins(places["variable"]).check_version("tensorrt", "8.6.1")  # says nothing about itself
