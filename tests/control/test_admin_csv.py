"""CSV: what a spreadsheet reads is what there is, and nothing of it runs."""

import csv
import io
import re
from typing import Any

import httpx2
import pytest

from gateway.control import csvs
from gateway.control.routes import audit as audit_routes
from gateway.control.routes import usage as usage_routes
from tests.control.admin_api import Control
from tests.control.usage_rows import HOUR, NOW, entry, fill, refuse

FORMULA = '=cmd|" /C calc"!A0'


def read(reply: httpx2.Response) -> list[list[str]]:
    """The rows of an answer, the header first, once it is what RFC 4180 and the browser want."""
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert re.fullmatch(r'attachment; filename="[\w.-]+\.csv"', reply.headers["content-disposition"])
    assert (reply.headers["cache-control"], reply.headers["x-content-type-options"]) == ("no-store", "nosniff")
    text = reply.content.decode()
    assert text.endswith("\r\n")
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len({len(row) for row in rows}) == 1
    return rows


async def rows_of(control: Control, path: str, **params: Any) -> list[dict[str, str]]:
    header, *rows = read(await control.get(path, params={"format": "csv", **params}))
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.parametrize(
    "text",
    [FORMULA, "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "  -1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20A1"],
)
def test_no_text_is_a_formula(text: str) -> None:
    """A text that a spreadsheet would take for a formula begins with an apostrophe, and loses nothing."""
    assert csvs.guarded(text) == f"'{text}"
    [[cell, number]] = csv.reader(io.StringIO(csvs.written([[text, -5]]), newline=""), strict=True)
    assert (cell, number) == (f"'{text}", "-5")


@pytest.mark.parametrize(
    ("cell", "written"),
    [(None, ""), (True, "true"), (-5, "-5"), (0.25, "0.25"), ("a=b", "a=b"), ("it's", "it's"), ("", ""), ('"', '""""')],
)
def test_other_cells_stay_as_they_are(cell: csvs.Cell, written: str) -> None:
    """Numbers stay numbers, negative ones too, and plain texts are not touched."""
    assert csvs.written([[cell, "x"]]) == f"{written},x\r\n"


async def test_usage_as_csv(control: Control) -> None:
    """The file has a row for each group, with its name, its rates and its means per minute."""
    workspace = await control.sub_workspace("=1+1")
    key = (await control.post(f"/workspaces/{workspace}/api-keys", {"description": '"quoted", 長い\u2028'})).json()
    place = {"account_id": control.account_id, "workspace_id": workspace, "key_id": key["id"]}
    engine = control.services.engine
    await fill(
        engine,
        entry("1", NOW - HOUR, **place),
        entry("2", NOW - HOUR, **place, outcome="client_gone", ttft_ms=None),
        entry("3", NOW - HOUR, **place, model="@cf/x"),
    )
    await refuse(engine, NOW - HOUR, 4, **place)
    [row] = await rows_of(control, "/usage", group_by="workspace")
    assert (row["workspace"], row["name"]) == (workspace, "'=1+1")
    assert [row[name] for name in ("calls", "failures", "failure_rate", "refused")] == ["3", "1", "0.333333", "4"]
    assert [row[name] for name in ("total_tokens", "ttft_ms", "duration_ms")] == ["45", "100.0", "300.0"]
    assert [row["calls_per_minute"], row["tokens_per_minute"]] == [f"{3 / 1440:.4f}", f"{45 / 1440:.4f}"]
    [row] = await rows_of(control, "/usage", group_by="key")
    assert (row["key"], row["name"]) == (key["id"], f'{key["masked"]} "quoted", 長い\u2028')
    assert [each["model"] for each in await rows_of(control, "/usage")] == ["m", "'@cf/x"]


async def test_no_usage_is_a_header(control: Control) -> None:
    """Without a call the file still says what its columns are."""
    for path in ("/usage", "/usage/series"):
        assert await rows_of(control, path) == []


async def test_series_as_csv(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a row for each step and group; so many groups that there would be too many rows are told apart no more."""
    calls = [entry(str(n), NOW - n * HOUR, model=f"m{n % 4}", input_tokens=n) for n in range(8)]
    await fill(control.services.engine, *calls)
    rows = await rows_of(control, "/usage/series")
    assert [row["model"] for row in rows] == ["m3", "m2", "m1", "m0"] * 2
    assert (rows[0]["at"], rows[-1]["at"]) == ("2023-11-14T15:00:00.000Z", "2023-11-14T22:00:00.000Z")
    # A whole hour, and the last one up to now: 13 min 20 s.
    assert (rows[0]["calls_per_minute"], rows[-1]["calls_per_minute"]) == (f"{1 / 60:.4f}", "0.075")
    monkeypatch.setattr(usage_routes, "MOST_ROWS", 50)
    rows = await rows_of(control, "/usage/series")
    assert {row["model"]: row["name"] for row in rows} == {"m3": "m3", "m2": "m2", "": "2 others"}
    assert sum(int(row["calls"]) for row in rows) == 8


async def test_audit_as_csv(control: Control) -> None:
    """The file has every change that fits the filters, with what was before and after as JSON, and hostile text disarmed."""
    workspace = await control.sub_workspace(FORMULA)
    await control.patch(f"/workspaces/{workspace}", {"name": "a,b"})
    await control.put("/models/+m", {"rpm": 1})
    rows = await rows_of(control, "/audit")
    assert [(row["action"], row["target"]) for row in rows] == [
        ("model.set", "'+m"),
        ("workspace.rename", workspace),
        ("workspace.create", workspace),
    ]
    assert (rows[1]["before"], rows[1]["after"]) == ('{"name": "=cmd|\\" /C calc\\"!A0"}', '{"name": "a,b"}')
    assert (rows[2]["before"], rows[2]["actor"], rows[2]["client"]) == ("", "admin token", "127.0.0.1")
    assert [row["action"] for row in await rows_of(control, "/audit", action="model")] == ["model.set"]


async def test_long_audit_is_read_in_parts_and_says_where_it_was_cut(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """All pages are in the file, each row once; beyond the bound its last row says how to get the rest, which goes on behind."""
    monkeypatch.setattr(audit_routes, "MAX_LIMIT", 2)
    for n in range(7):
        await control.put(f"/models/m{n}", {})
    assert [row["target"] for row in await rows_of(control, "/audit")] == [f"m{n}" for n in reversed(range(7))]
    monkeypatch.setattr(audit_routes, "MOST_ROWS", 4)
    reply = await control.get("/audit", params={"format": "csv"})
    *rows, last = list(csv.reader(io.StringIO(reply.text, newline="")))[1:]
    assert [row[3] for row in rows] == ["m6", "m5", "m4", "m3"]
    cut = re.fullmatch(r"Cut after 4 rows\. For the older ones ask again, with cursor=(\S+)", last[0])
    assert cut is not None
    assert [row["target"] for row in await rows_of(control, "/audit", cursor=cut[1])] == ["m2", "m1", "m0"]


@pytest.mark.parametrize("params", [{"cursor": "x"}, {"start": "yesterday"}, {"format": "pdf"}])
async def test_what_is_wrong_with_a_request_for_csv_is_told(control: Control, params: dict[str, str]) -> None:
    """A request that cannot be answered is a problem document, not half a file."""
    reply = await control.get("/audit", params={"format": "csv", **params})
    assert (reply.status_code, reply.headers["content-type"]) == (400, "application/problem+json")
