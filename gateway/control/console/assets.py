"""The console's static files: style sheets and ES modules, out of the package, at addresses that never change their content.

All files share one hash, so that a module's relative import (`./api.js`) stays within the same version. A browser may keep what
it has for a year: other content has another address.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

from gateway.control.policy import public
from gateway.control.problems import NotFound

PREFIX = "/console/static"
_HASH_LENGTH = 16
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Assets:
    """The files by name, and the hash over all their names and contents."""

    files: Mapping[str, bytes]
    digest: str


def digest_of(files: Mapping[str, bytes]) -> str:
    """A short hash that differs when any file's name or content does."""
    total = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            total.update(len(part).to_bytes(8))
            total.update(part)
    return total.hexdigest()[:_HASH_LENGTH]


@cache
def assets() -> Assets:
    """The package's own files, read once. Only kinds that have a content type are served."""
    folder = resources.files("gateway.control.console") / "static"
    files = {each.name: each.read_bytes() for each in folder.iterdir() if _type_of(each.name) and each.is_file()}
    return Assets(files, digest_of(files))


def asset(name: str) -> str:
    """The address of a static file; raises KeyError for a file that does not exist, so that a misspelt name stops the page."""
    if name not in assets().files:
        raise KeyError(name)
    return f"{PREFIX}/{assets().digest}/{name}"


def _type_of(name: str) -> str | None:
    return next((kind for suffix, kind in _TYPES.items() if name.endswith(suffix)), None)


@router.get(PREFIX + "/{digest}/{name}", include_in_schema=False)
@public
async def static(digest: str, name: str) -> Response:
    """One file. An old hash is not found: answering with new content would put it into a cache for a year."""
    found = assets()
    content = found.files.get(name)
    if content is None or digest != found.digest:
        raise NotFound("There is no such file; load the page again.")
    return Response(content, media_type=_type_of(name), headers=_HEADERS)
