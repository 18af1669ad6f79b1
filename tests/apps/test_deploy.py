"""What is in `deploy/`, as far as it can be tried without Docker and without systemd as the first process."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from brokers import free_port
from sparsevit_runtime.sinks.web.options import read_options
from sparsevit_runtime.sinks.web.sink import WebSink

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
UNIT = DEPLOY / "sparsevit.service"


class Dockerfile:
    """Attributes: instructions: (word, rest) of each, in order; lines that go on are one."""

    def __init__(self, path: Path) -> None:
        lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
        joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
        self.instructions = [
            (word.upper(), rest.strip())
            for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
        ]

    def all(self, word: str) -> list[str]:
        return [rest for name, rest in self.instructions if name == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]

    @property
    def bases(self) -> list[str]:
        """Images that stages begin with."""
        arguments = dict(rest.split("=", 1) for rest in self.all("ARG") if "=" in rest)
        named = [re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], rest).split() for rest in self.all("FROM")]
        stages = {words[2] for words in named if len(words) == 3 and words[1].upper() == "AS"}
        return [words[0] for words in named if words[0] not in stages]

    @property
    def runs(self) -> str:
        return "\n".join(self.all("RUN"))


@pytest.fixture(params=["Dockerfile.x86", "Dockerfile.jetson"])
def image(request) -> Dockerfile:
    return Dockerfile(DEPLOY / request.param)


def command_options(words: list[str], sparsevit) -> None:
    """Has the command answer --help, and finds every option of a command line in it."""
    said = sparsevit(words[0], "--help")
    assert said.code == 0
    assert all(word in said.out for word in words if word.startswith("--"))


def test_images_begin_with_a_release_and_not_with_whatever_is_newest(image):
    assert image.bases
    for base in image.bases:
        _, _, tag = base.rpartition("/")[2].partition(":")
        assert re.search(r"\d+\.\d+", tag) and tag != "latest", base


def test_what_is_copied_is_there_and_is_what_building_takes(image):
    stages = {rest.split()[-1] for rest in image.all("FROM") if " AS " in rest}
    for rest in image.all("COPY"):
        words = rest.split()
        origin = words[0].partition("--from=")[2]
        assert origin in stages if origin else all((ROOT / word).exists() for word in words[:-1])
    assert ". ." in image.all("COPY")
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / name).exists() for name in let_through)
    build, project = PROJECT["tool"]["scikit-build"], PROJECT["project"]
    packages = build["wheel"]["packages"]
    folders = re.findall(r"^add_subdirectory\((\w+)\)", (ROOT / "CMakeLists.txt").read_text(), re.MULTILINE)
    taken = [*packages, project["readme"], *project["license-files"], build["metadata"]["version"]["input"], *folders]
    assert {Path(name).parts[0] for name in [*taken, "pyproject.toml", "CMakeLists.txt"]} <= let_through


def test_every_extra_and_every_setting_of_the_build_exists(image):
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", image.runs)
    known = PROJECT["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    assert {"web", "mqtt"} <= set(extras.split(","))  # what the example configuration uses
    settings = re.findall(r"cmake\.define\.(\w+)=", image.runs)
    scripts = [*(ROOT / "plugins").rglob("CMakeLists.txt"), *(ROOT / "plugins").rglob("*.cmake")]
    declared = re.findall(r"option\((\w+)|set\((\w+) [^)]*CACHE", "".join(each.read_text() for each in scripts))
    assert settings and set(settings) <= {name for names in declared for name in names}


def test_it_runs_as_nobody_who_may_do_anything_and_keeps_recordings_on_a_volume(image):
    words = [word for word, _ in image.instructions]
    user = image.last("USER")
    assert user.isdigit() and int(user) > 0 and f"--uid {user} " in image.runs
    assert words.index("USER") < words.index("ENTRYPOINT") and words.index("USER") > words.index("RUN")
    assert image.last("VOLUME") == image.last("WORKDIR") and f"--home-dir {image.last('VOLUME')} " in image.runs
    assert image.last("STOPSIGNAL") == "SIGTERM"
    assert "MALLOC_ARENA_MAX=2" in image.last("ENV")


def test_what_it_starts_is_a_command_that_takes_these_words(image, sparsevit):
    entry, words = json.loads(image.last("ENTRYPOINT")), json.loads(image.last("CMD"))
    assert entry == ["sparsevit"] and entry[0] in PROJECT["project"]["scripts"]
    command_options(words, sparsevit)


def test_its_health_is_asked_of_the_page(image, monkeypatch):
    pytest.importorskip("uvicorn", reason="the extra web is not installed")
    health = json.loads(image.last("HEALTHCHECK").partition("CMD ")[2])
    example = tomllib.loads((DEPLOY / "config.toml").read_text())
    (port,) = re.findall(r"127\.0\.0\.1:(\d+)/healthz", health[-1])
    assert example["sinks"]["page"]["uri"].endswith(f":{port}") and image.last("EXPOSE") == port

    def ask(there: int) -> int:
        code = health[-1].replace(f":{port}/", f":{there}/")
        assert health[:-1] in (["python", "-c"], ["python3", "-c"])
        return subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, timeout=30).returncode

    with WebSink(read_options("http://127.0.0.1:0")) as page:
        assert ask(int(page.name.rpartition(":")[2])) == 0
    assert ask(free_port()) != 0


class TestUnit:
    @pytest.fixture
    def service(self) -> dict[str, str]:
        parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
        parser.optionxform = str
        parser.read(UNIT)
        return dict(parser["Service"])

    def test_what_it_starts_is_a_command_that_takes_these_words(self, service, sparsevit):
        for key in ("ExecStart", "ExecStartPre"):
            program, *words = shlex.split(service[key])
            assert Path(program).name in PROJECT["project"]["scripts"]
            command_options(words, sparsevit)
        assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"

    def test_a_clean_stop_is_a_success_and_it_promises_nothing_that_the_service_does_not_do(self, service):
        assert service["SuccessExitStatus"] == "143" and service["Restart"] == "on-failure"
        told = (ROOT / "apps" / "sparsevit_apps" / "service" / "service.py").read_text()
        assert service["Type"] == "notify" and 'notify("READY=1")' in told
        assert ("WatchdogSec" in service) == ("WATCHDOG=1" in told)

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
    def test_systemd_takes_it_and_finds_it_hardened(self, tmp_path):
        path = tmp_path / UNIT.name
        # systemd looks whether what it starts is there.
        path.write_text(UNIT.read_text().replace("/opt/sparsevit/bin/sparsevit", shutil.which("true") or "/bin/true"))
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager", path], capture_output=True, text=True
        )
        if "unrecognized option" in done.stderr or "Unknown" in done.stderr:
            pytest.skip("this systemd does not judge a unit that is not installed")
        (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        assert float(exposure) < 4
