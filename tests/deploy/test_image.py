"""The image: the Dockerfile's own steps, carried out by hand, and what they make, run as whoever deploys it will run it."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

import gateway
from tests.deploy import by_hand
from tests.deploy.by_hand import Builder, Container, Image
from tests.deploy.dockerfile import expanded, ignored, patterns, stages
from tests.support.processes import ROOT
from tests.support.programs import program

pytestmark = [pytest.mark.xdist_group("image"), pytest.mark.timeout(300)]  # the first test waits for the image

STAGES = stages((ROOT / "Dockerfile").read_text(encoding="utf-8"))
IGNORED = patterns(ROOT / ".dockerignore")
_CALL = """
import sys
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
reply = client.chat.completions.create(model="demo-chat", messages=[{"role": "user", "content": "Hello!"}])
print(reply.choices[0].message.content)
"""
_WRITES = """
import os, sys
for folder in sys.argv[1:]:
    try:
        open(os.path.join(folder, "probe"), "w").close()
        print(folder)
    except OSError:
        pass
"""


def test_hadolint_finds_nothing() -> None:
    """The Dockerfile keeps to the rules of its linter, with none switched off."""
    done = subprocess.run([program("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint ignore" not in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_base_is_pinned() -> None:
    """Both stages begin with the same slim image, of a fixed version of Python that the package is declared for."""
    bases = {stage.base for stage in STAGES}
    assert len(STAGES) == 2
    assert len(bases) == 1
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", bases.pop())
    assert found
    assert f"Python :: {found[1]}" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_labels_are_true() -> None:
    """The image says which version it is, under which licence, and what it is for, as the package does."""
    final = STAGES[-1]
    labels = final.the("LABEL").pairs({"REVISION": "abc"})
    named = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert named["version"] == gateway.__version__
    assert f'license = "{named["licenses"]}"' in project
    assert f'description = "{named["description"]}"' in project
    assert named["revision"] == "abc"


def test_only_what_is_copied_reaches_the_builder() -> None:
    """No secret, data folder, history or test is sent to the builder, and nothing that the Dockerfile copies is kept back."""
    names = ["gateway/app.py", "gateway/control/console/x.css", "migrations/env.py", "pyproject.toml", "requirements.lock"]
    kept = [name for name in names if ignored(PurePosixPath(name), IGNORED)]
    assert kept == []
    secret = [".env", "gateway.env", "data/key-pepper", ".git/config", ".venv/bin/python", "tests/conftest.py", "gateway.toml"]
    compiled = ["gateway/__pycache__/app.cpython-311.pyc", "gateway/__pycache__", "migrations/x.pyc"]
    assert [name for name in [*secret, *compiled] if not ignored(PurePosixPath(name), IGNORED)] == []


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with by_hand.workshop() as made:
        yield made


@pytest.fixture(scope="module")
def image(folder: Path) -> Image:
    caches = Path(tempfile.gettempdir()) / "gateway-tests-pip"
    return Builder(folder, ROOT, IGNORED, caches).build(STAGES)


@pytest.fixture(scope="module")
def container(image: Image, folder: Path) -> Iterator[Container]:
    where = folder / "container"
    where.mkdir()
    with Container(image, where) as running:
        running.wait_until(lambda: "The gateway is running." in running.stdout(), "the gateway listens")
        yield running


def _installed(image: Image) -> Path:
    (found,) = (image.root / "opt/gateway/lib").glob("python3*/site-packages")
    return found


def test_the_image_holds_the_gateway_and_nothing_to_build_with(image: Image) -> None:
    """The last stage has templates, styles, scripts and migrations, and neither tests, pip, a build's tools nor caches."""
    installed = _installed(image)
    kinds = (".py", ".lua", ".html", ".css", ".js", ".svg")
    wanted = {path.relative_to(ROOT) for path in (ROOT / "gateway").rglob("*") if path.suffix in kinds}
    wanted |= {Path("gateway") / path.relative_to(ROOT) for path in (ROOT / "migrations").rglob("*.py")}
    assert {path for path in wanted if not (installed / path).is_file()} == set()
    names = {path.name.split("-")[0] for path in installed.iterdir()}
    assert names & {"pip", "setuptools", "wheel", "hatchling", "editables", "pytest", "tests", "loadtests"} == set()
    assert {"fastapi", "uvicorn", "asyncpg", "redis"} <= names
    left = {path.relative_to(image.root).parts[0] for path in image.root.rglob("*") if path.is_file()}
    assert left <= {"opt", "etc", "usr", "var"}
    assert not any((image.root / each).exists() for each in ("src", "wheel", "tools", "cache", "opt/gateway/bin/pip"))


def test_it_runs_as_nobody_in_particular(container: Container) -> None:
    """Its first process is the gateway, of a user without a name or a capability; nothing but /data can be written to."""
    status = container.execute("cat", "/proc/1/status").stdout
    assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
    assert re.search(r"^Gid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
    assert "gateway" in container.execute("cat", "/proc/1/cmdline").stdout
    folders = ["/", "/data", "/tmp", "/var/tmp", "/dev", "/run", "/etc/gateway", "/opt/gateway"]
    assert container.execute("python", "-c", _WRITES, *folders).stdout.split() == ["/data"]
    (container.data / "probe").unlink()


def test_nobody_can_install_anything_in_it(container: Container) -> None:
    """Neither the gateway's environment nor the base's own Python has pip."""
    for python in ("/opt/gateway/bin/python", "/usr/local/bin/python"):
        if python.startswith("/usr") and sys.base_prefix == "/usr":
            continue  # the base is this machine's root, whose distribution lets nobody take its pip away
        tried = container.execute(python, "-m", "pip", "--version")
        assert "No module named pip" in tried.stderr


def test_its_health_check_passes(container: Container, image: Image) -> None:
    """The command that the image names as its health check says that the gateway lives; for a port where none is, it fails."""
    name, *command = image.settings["HEALTHCHECK"].words
    assert name == "CMD"
    command = json.loads(image.settings["HEALTHCHECK"].rest.partition(" ")[2])
    done = container.execute(*command)
    assert (done.returncode, done.stdout) == (0, "ok\n")
    assert container.execute(*command, "--url", "http://127.0.0.1:1").returncode == 1
    assert container.execute("gateway", "health").returncode == 0


def test_a_call_passes(container: Container, image: Image) -> None:
    """A key that the command line makes in the container calls the demo model, at the port that the image names."""
    made = container.execute("gateway", "keys", "create", "--description", "test", "--json")
    key = json.loads(made.stdout)["key"]
    base_url = f"http://127.0.0.1:{image.settings['EXPOSE'].rest}/compatible-mode/v1"
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    reply = container.beside(sys.executable, "-c", _CALL, base_url, key, env=env)
    assert reply.returncode == 0, reply.stderr
    assert "[demo]" in reply.stdout


def test_it_serves_the_console(container: Container) -> None:
    """The console's page and its style sheet come from the installed wheel, and its database was migrated."""
    fetch = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1]).read().decode())"
    page = container.execute("python", "-c", fetch, "http://127.0.0.1:8080/console/sign-in").stdout
    sheet = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert "{" in container.execute("python", "-c", fetch, f"http://127.0.0.1:8080{sheet}").stdout
    assert json.loads(container.execute("gateway", "migrate", "--json").stdout) == {"applied": []}
    assert (container.data / "gateway.db").exists()


def test_it_keeps_its_settings_file_where_it_says(image: Image) -> None:
    """A gateway.toml in the image's working folder is read, and its data folder is the volume."""
    (volume,) = image.settings["VOLUME"].words
    assert image.env["GATEWAY_DATA_DIR"] == volume
    assert image.workdir == "/etc/gateway"
    assert expanded("${GATEWAY_HOST}", image.env) == "0.0.0.0"


def test_it_ends_as_it_is_told(image: Image, folder: Path) -> None:
    """The image's stop signal to the first process ends the container with 0, and the demo beside it as well."""
    where = folder / "ended"
    where.mkdir()
    with Container(image, where) as running:
        running.wait_until(lambda: "The gateway is running." in running.stdout(), "the gateway listens")
        running.signal(signal.Signals[image.settings["STOPSIGNAL"].rest])
        assert running.wait(15) == 0
