"""Plain HTML forms, for the pages that work without script."""

from urllib.parse import parse_qs

from starlette.requests import Request

from gateway.control.problems import BadRequest

_MOST_FIELDS = 20
_MOST_BYTES = 16 << 10
_TYPE = "application/x-www-form-urlencoded"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form, each once. Raises BadRequest."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise BadRequest("Send the form as a browser does.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise BadRequest("The form is too large.")
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise BadRequest("The form cannot be read.") from error
    if any(len(values) > 1 for values in found.values()):
        raise BadRequest("The form has a field twice.")
    return {name: values[0] for name, values in found.items()}


def next_page(wanted: str | None) -> str:
    """Where to go after signing in: a page of the console that was asked for, and never another site."""
    plain = wanted is not None and wanted.isascii() and wanted.isprintable()
    if wanted is None or not plain or not wanted.startswith("/console/") or "\\" in wanted or "//" in wanted:
        return "/console/"
    return wanted
