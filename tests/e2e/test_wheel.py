"""The gateway as installed from its wheel: nothing of the checkout is needed, and nothing but the data folder is written."""

import os
import subprocess
import sys
import zipfile
from configparser import ConfigParser
from pathlib import Path

import httpx2
import pytest

from tests.support.processes import ROOT, ChildProcess, _with_compiled_code

pytestmark = pytest.mark.xdist_group("e2e-wheel")

_PROGRAM = "import sys; from {module} import {name}; sys.argv[0] = 'gateway'; sys.exit({name}())"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "built")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (folder / "built").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


def _command(installed: Path) -> list[str]:
    """The `gateway` command, as the wheel's own entry point says it."""
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    parser = ConfigParser()
    parser.read(entry_points)
    module, _, name = parser["console_scripts"]["gateway"].partition(":")
    return [sys.executable, "-c", _PROGRAM.format(module=module, name=name)]


def _environment(installed: Path, data: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_") and "proxy" not in name.lower()}
    # The dependencies are those of the tests' own environment; the package itself is the wheel's, which stands before it.
    kept |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", "GATEWAY_DATA_DIR": str(data), "GATEWAY_PORT": "0"}
    return _with_compiled_code(kept)


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_the_wheel_is_whole(installed: Path) -> None:
    """Every module, template, style sheet and migration of the checkout is in the wheel, with its licence."""
    packaged = {path.relative_to(installed) for path in installed.rglob("*")}
    kinds = (".py", ".lua", ".html", ".css", ".js", ".svg")
    assert packaged >= {path.relative_to(ROOT) for path in (ROOT / "gateway").rglob("*") if path.suffix in kinds}
    assert packaged >= {Path("gateway") / path.relative_to(ROOT) for path in (ROOT / "migrations").rglob("*.py")}
    assert list(installed.glob("*.dist-info/licenses/LICENSE"))


def test_it_runs_elsewhere(installed: Path, tmp_path: Path) -> None:
    """In another folder, with only the data folder to write to: the schema is made, the demo answers, the commands work."""
    working, data = tmp_path / "working", tmp_path / "data"
    working.mkdir()
    for folder in (working, installed):
        folder.chmod(0o555)
    before = _files(installed)
    env, command = _environment(installed, data), _command(installed)

    where = subprocess.run(
        [sys.executable, "-c", "import gateway; print(gateway.__file__)"], cwd=working, env=env, capture_output=True, check=True
    )
    assert Path(where.stdout.decode().strip()).is_relative_to(installed)

    with ChildProcess([*command, "serve"], env=env, cwd=working) as gateway:
        gateway.wait_until(lambda: "The gateway is running." in gateway.stdout(), "the gateway listens")
        words = gateway.stdout().split()
        endpoint, key = words[words.index("Endpoint") + 1], words[words.index("key") + 1]
        body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
        with httpx2.Client(trust_env=False, timeout=30) as client:
            reply = client.post(f"{endpoint}/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})
            form = client.get(endpoint.replace("/compatible-mode/v1", "/console/sign-in"))
            assert form.status_code == 200, form.text
            sheet = form.text.split('rel="stylesheet" href="')[1].split('"')[0]
            assert client.get(endpoint.replace("/compatible-mode/v1", sheet)).headers["content-type"].startswith("text/css")
        assert reply.status_code == 200, reply.text
        assert "[demo]" in reply.text
        listed = subprocess.run([*command, "keys", "list"], cwd=working, env=env, capture_output=True, text=True, check=True)
        assert "made at the first start" in listed.stdout

    assert _files(installed) == before
    assert _files(working) == set()
