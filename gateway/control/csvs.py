"""Answers as CSV (RFC 4180): a header, CRLF, and no cell that a spreadsheet would run.

A text that begins as a formula does is kept from being one by an apostrophe in front of it (OWASP, CSV injection), since whoever
opens the file is not who wrote the names in it. Numbers stay numbers.
"""

import csv
import io
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from starlette.responses import Response, StreamingResponse

Cell = str | int | float | bool | None
Row = Sequence[Cell]
Format = Literal["json", "csv"]

MEDIA_TYPE = "text/csv; charset=utf-8"
IN_OPENAPI: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
"""For `responses` of a route that answers with CSV too."""

# The full-width forms count as well: spreadsheets of East Asian locales take them for the others.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def guarded(cell: Cell) -> str | int | float:
    """A cell as it is written: nothing for None, and no text that a spreadsheet takes for a formula."""
    match cell:
        case None:
            return ""
        case bool():
            return "true" if cell else "false"
        case str():
            # Some programs skip spaces before they look.
            return f"'{cell}" if cell.startswith(_FORMULA) or cell.lstrip(" ").startswith(_FORMULA) else cell
        case _:
            return cell


def written(rows: Iterable[Row]) -> str:
    """Rows as CSV."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerows([guarded(cell) for cell in row] for row in rows)
    return out.getvalue()


def answer(name: str, header: Sequence[str], rows: Iterable[Row]) -> Response:
    """A file of this name, without its suffix, to be saved."""
    return Response(written([header, *rows]), media_type=MEDIA_TYPE, headers=_headers(name))


def stream(name: str, header: Sequence[str], parts: AsyncIterator[Iterable[Row]]) -> Response:
    """The same for what is read part by part. An error that a part raises cuts the answer off."""

    async def texts() -> AsyncIterator[str]:
        yield written([header])
        async for rows in parts:
            yield written(rows)

    return StreamingResponse(texts(), media_type=MEDIA_TYPE, headers=_headers(name))


def _headers(name: str) -> Mapping[str, str]:
    safe = "".join(each if each.isascii() and (each.isalnum() or each in "-_.") else "_" for each in name)
    return {"content-disposition": f'attachment; filename="{safe}.csv"'}
