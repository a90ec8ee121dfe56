"""The console's static files."""

import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from gateway.control import handlers
from gateway.control.console import assets
from gateway.control.policy import check_routes


@pytest.fixture
def client() -> TestClient:
    app = FastAPI(openapi_url=None)
    handlers.install(app)
    app.include_router(assets.router)
    check_routes(app)

    return TestClient(handlers.Envelope(app, now_ms=lambda: 0, max_body_bytes=1))


@pytest.mark.parametrize(
    ("name", "kind"), [("console.js", "text/javascript"), ("tokens.css", "text/css"), ("mark.svg", "image/svg+xml")]
)
def test_files_are_served_for_good(client: TestClient, name: str, kind: str) -> None:
    """A file comes with its type, may be kept for a year, and is never taken for another type."""
    reply = client.get(assets.asset(name))
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith(kind)
    assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.content == assets.assets().files[name]


@pytest.mark.parametrize(
    "path",
    [
        "/console/static/0000000000000000/console.js",
        "/console/static/{digest}/nothing.js",
        "/console/static/{digest}/..%2frender.py",
        "/console/static/{digest}/../render.py",
        "/console/static/{digest}/",
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    """Another version, another name, and whatever lies outside the folder are not found."""
    assert client.get(path.format(digest=assets.assets().digest)).status_code == 404


def test_the_hash_covers_names_and_contents() -> None:
    """Any change of a name, of a content, or of where one ends and the next begins makes another address."""
    sets = [{"a": b"b"}, {"a": b"c"}, {"b": b"b"}, {"a": b"b", "c": b""}, {"ab": b""}, {"": b"ab"}]
    assert len({assets.digest_of(files) for files in sets}) == len(sets)
    assert assets.digest_of({"a": b"1", "b": b"2"}) == assets.digest_of({"b": b"2", "a": b"1"})


def test_modules_import_only_files_that_exist() -> None:
    """Each import of a module is relative and leads to a file of the same folder."""
    files = assets.assets().files
    for name, content in files.items():
        if name.endswith(".js"):
            for target in re.findall(r'^import .*?"([^"]+)";$', content.decode(), re.MULTILINE):
                assert target.startswith("./"), f"{name} imports {target}"
                assert target.removeprefix("./") in files, f"{name} imports {target}"


def test_style_sheets_load_nothing_from_elsewhere() -> None:
    """No sheet has an import or an address."""
    for name, content in assets.assets().files.items():
        if name.endswith(".css"):
            assert not re.search(rb"@import|url\(", content), name
