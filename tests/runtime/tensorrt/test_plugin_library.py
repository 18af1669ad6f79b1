import pytest

from sparsevit_runtime.errors import BuildError
from sparsevit_runtime.tensorrt import plugin_library as module
from sparsevit_runtime.tensorrt.cache import record_plugins
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


def test_an_engine_runs_with_the_library_that_is_trusted_most(places, monkeypatch):
    """What the side-car says of a place is never loaded; what a build of this user noted is."""
    path, digest = str(places["given"]), sha256(places["given"].read_bytes())
    assert find_plugins_to_run(path, digest).path == places["variable"]
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    assert find_plugins_to_run(path, digest).path == places["package"]
    record_plugins(places["given"], digest)
    assert find_plugins_to_run(path, digest).path == places["package"]
    assert find_plugins_to_run().path == places["package"]
    places["package"].unlink()
    assert find_plugins_to_run(path, digest).path == places["given"]
    assert find_plugins_to_run("/elsewhere.so", digest).path == places["given"]  # whatever the side-car says
    assert find_plugins_to_run(chosen=places["variable"]).path == places["variable"]


def test_a_strangers_library_is_not_loaded_from_beside_the_engine(places, monkeypatch):
    """Although it is there, and the side-car has its digest: both are the stranger's."""
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    places["package"].unlink()
    path, digest = str(places["given"]), sha256(places["given"].read_bytes())
    message = (
        r"looked for \S+package.so \(the package; \$SPARSEVIT_PLUGINS is not set\); the engine was built with "
        rf"'{path}', which no build of this user noted in the cache\. If you trust"
    )
    with pytest.raises(BuildError, match=message):
        find_plugins_to_run(path, digest)
    for wrong in ("", "../../etc", "0" * 63, None):
        with pytest.raises(BuildError, match="the engine was built with"):
            find_plugins_to_run(path, wrong)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda library: library.write_bytes(ELF + b"other"), r"given.so \(a build of yours; it is another file now\)"),
        (lambda library: library.unlink(), r"given.so \(a build of yours\)"),
        (lambda library: library.chmod(0o666), r"given.so \(a build of yours; others may replace it there\)"),
        (lambda library: library.parent.chmod(0o777), r"given.so \(a build of yours; others may replace it there\)"),
    ],
    ids=["another file", "gone", "a file for all", "a folder for all"],
)
def test_a_library_of_an_earlier_build_that_may_be_anothers_now(places, monkeypatch, spoil, message):
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    places["package"].unlink()
    digest = sha256(places["given"].read_bytes())
    record_plugins(places["given"], digest)
    spoil(places["given"])
    with pytest.raises(BuildError, match=message) as error:
        find_plugins_to_run("", digest)
    assert "--plugins" not in str(error.value)  # an option of `build` alone


def test_a_record_that_others_may_write_is_none(places, monkeypatch, cache):
    monkeypatch.delenv("SPARSEVIT_PLUGINS")
    places["package"].unlink()
    digest = sha256(places["given"].read_bytes())
    record_plugins(places["given"], digest)
    (cache / "plugins").chmod(0o777)
    with pytest.raises(BuildError, match="no plugin library"):
        find_plugins_to_run("", digest)
    (cache / "plugins").chmod(0o700)
    (cache / "plugins" / digest).write_text("given.so")  # not absolute: of whatever folder is current
    monkeypatch.chdir(places["given"].parent)
    with pytest.raises(BuildError, match="no plugin library"):
        find_plugins_to_run("", digest)


def test_a_wrong_variable_does_not_mean_another_place(places):
    record_plugins(places["given"], sha256(places["given"].read_bytes()))
    places["variable"].unlink()
    with pytest.raises(BuildError, match=r"looked for \S+variable.so \(\$SPARSEVIT_PLUGINS\)\. If"):
        find_plugins_to_run("", sha256(places["given"].read_bytes()))


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
