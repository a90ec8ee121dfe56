"""The page of usage, in a browser."""

import csv
import io
import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page

from gateway.domain import ids
from gateway.domain.ledger import Entry
from tests.control.console.console_world import Console, check_accessible, check_fits, expect
from tests.control.usage_rows import HOUR, entry, store_beside

pytestmark = pytest.mark.xdist_group("console-usage")

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "=cmd()", "長" * 30)
_SUMS = ("calls", "failures", "refused", "input_tokens", "output_tokens", "cached_tokens")


def usage_of(console: Console, path: str, **params: Any) -> Any:
    return console.gateway.admin("GET", f"{path}?{httpx2.QueryParams(params)}")


def test_calls_show_up(console: Console) -> None:
    """An empty page says what to do; calls with a new key are on it as soon as they have ended, as numbers, plot and table."""
    account = console.account()
    workspace = next(row["id"] for row in usage_of(console, "/workspaces", account_id=account)["data"] if row["is_default"])
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace}/usage")
        expect(page.get_by_role("heading", name="No calls in the last 24 hours")).to_be_visible()
        check_accessible(page)
        check_fits(page)
        page.get_by_role("main").get_by_role("link", name="API keys").click()
        expect(page).to_have_url(re.compile(f"/console/w/{workspace}/keys$"))
        key = console.gateway.create_key(workspace, "Nightly <b>evaluation</b>")
        body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
        for _ in range(3):
            reply = httpx2.post(
                f"{console.gateway.base_url}/chat/completions", json=body, headers={"authorization": f"Bearer {key['key']}"}
            )
            assert reply.status_code == 200
        console.gateway.metered(key["id"], 3)
        page.goto(f"/console/w/{workspace}/usage")
        expect(stat(page, "Calls")).to_have_text("3")
        page.get_by_role("link", name="API key", exact=True).click()
        row = page.get_by_role("table", name="Usage by API key").get_by_role("row").nth(1)
        expect(row.get_by_role("rowheader")).to_contain_text("Nightly <b>evaluation</b>")
        expect(row.get_by_role("cell").first).to_have_text("3")
        row.get_by_role("link").click()
        expect(page.get_by_role("combobox", name="API key")).to_have_value(key["id"])
        expect(page.get_by_role("table", name="Usage by model").get_by_role("row").nth(1)).to_contain_text("demo-chat")


def stat(page: Page, label: str) -> Any:
    return page.locator(".stat").filter(has=page.locator("dt", has_text=re.compile(f"^{label}$"))).locator(".stat-value")


class Rows:
    """A workspace of its own whose calls lie all over the last 30 days, and what is asked about them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.account = console.account("長" * 30)
        self.workspace = console.workspace(HOSTILE[0], self.account)
        self.other = console.workspace(HOSTILE[4], self.account)
        self.keys = [console.gateway.create_key(self.workspace, text)["id"] for text in HOSTILE]
        gone = console.gateway.create_key(self.workspace, "gone")["id"]
        console.gateway.admin("DELETE", f"/api-keys/{gone}")
        self.keys.append(gone)
        now = int(time.time() * 1000)
        refused = [
            {"at": now - age, "calls": 2, "account_id": self.account, "workspace_id": self.workspace, "key_id": self.keys[0]}
            | {"model": model}
            for age, model in ((HOUR // 60, "m0"), (2 * HOUR, ""), (50 * HOUR, "m0"))
        ]
        store_beside(console.gateway.data_dir, list(self._calls(now)), refused)

    def _calls(self, now: int) -> Iterator[Entry]:
        for n in range(240):
            at = now - int(720 * HOUR * (n / 240) ** 3)
            yield entry(
                ids.call_id(at),
                at,
                account_id=self.account,
                workspace_id=self.other if n % 5 == 0 else self.workspace,
                key_id=self.keys[n % len(self.keys)],
                model=f"m{n % 11}",
                outcome="ok" if n % 6 else "upstream_error",
                input_tokens=n * 1000,
                ttft_ms=None if n % 7 == 0 else 100 + n,
            )


@pytest.fixture(scope="module")
def rows(console: Console) -> Rows:
    return Rows(console)


def plotted(page: Page, title: str) -> Any:
    """The data of a plot, as its read-off has it."""
    frame = page.locator("figure.chart").filter(has=page.get_by_role("heading", name=title, exact=True)).locator("[data-plot]")
    return json.loads(frame.get_attribute("data-plot") or "")


def sums(plot: Any) -> dict[str, float]:
    return {each["label"]: sum(value or 0 for value in each["values"]) for each in plot["series"]}


def cells(page: Page, table: str) -> list[list[str]]:
    """All rows of a table as text, its head and its foot included."""
    found: Sequence[list[str]] = page.get_by_role("table", name=table, exact=True).evaluate(
        "table => [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.trim().split('\\n')[0]))"
    )
    return list(found)


@pytest.mark.parametrize(
    ("range_", "by", "steps"), [("3h", "model", 37), ("24h", "key", 25), ("7d", "model", 29), ("30d", "workspace", 31)]
)
def test_plots_tables_and_the_api_agree(console: Console, rows: Rows, range_: str, by: str, steps: int) -> None:
    """Over each range, tiles, plots, both tables and the admin API say the same."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{rows.workspace}/usage?range={range_}&scope=account&by={by}")
        name = {"key": "API key"}.get(by, by)
        calls, tokens, lost = (plotted(page, title) for title in (f"Calls by {name}", "Tokens", "Failures and refused calls"))
        span = {"start": calls["times"][0] // 1000, "end": calls["times"][-1] // 1000 + calls["step"] // 1000}
        told = usage_of(console, "/usage", account_id=rows.account, group_by=by, **span)
        assert len(calls["times"]) == steps
        assert sum(sums(calls).values()) == told["total"]["calls"] > 0
        assert sums(tokens) == {"In": told["total"]["input_tokens"], "Out": told["total"]["output_tokens"]}
        assert sums(lost) == {"Failures": told["total"]["failures"], "Refused": told["total"]["refused"]}
        for summary in page.locator("details.disclosure > summary").all():
            summary.click()
        _, *groups, foot = cells(page, f"Usage by {name}")
        assert [f"{row['calls']:,}" for row in told["data"]] == [row[1] for row in groups]
        numbers = [foot[column].replace(",", "") for column in (1, 2, 4, 5, 6, 7)]
        assert numbers == [str(told["total"][each]) for each in _SUMS]
        _, *over_time = cells(page, "Usage over time")
        assert [sum(int(row[column].replace(",", "")) for row in over_time) for column in (1, 2, 4, 5, 6, 7)] == [
            told["total"][each] for each in _SUMS
        ]
        head, *by_group = cells(page, f"Calls over time by {name}")
        shown = {head[column]: sum(int(row[column].replace(",", "")) for row in by_group) for column in range(1, len(head))}
        assert shown == sums(calls)
        expect(stat(page, "Refused")).to_have_text(str(told["total"]["refused"]))


def test_values_are_read_off_by_pointer_and_by_keys(console: Console, rows: Rows) -> None:
    """Over a plot, the pointer and the arrow keys read off what each series has there."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{rows.workspace}/usage?range=7d&scope=account")
        tokens = plotted(page, "Tokens")
        figure = page.locator("figure.chart").filter(has=page.get_by_role("heading", name="Tokens"))
        box = figure.locator(".chart-plot").bounding_box()
        assert box is not None
        figure.locator(".chart-plot").hover(position={"x": box["width"] - 2, "y": 40})
        tip = figure.locator(".chart-tip")
        expect(tip).to_contain_text("UTC")
        last = [f"{each['values'][-1]:,}" for each in tokens["series"]]
        for value in last:
            expect(tip).to_contain_text(value)
        page.mouse.move(0, 0)
        expect(tip).to_be_hidden()
        figure.locator("[data-plot]").focus()
        page.keyboard.press("End")
        status = figure.get_by_role("status")
        expect(status).to_contain_text(f"Out {last[1]}, In {last[0]}")
        page.keyboard.press("ArrowLeft")
        expect(status).to_contain_text(f"In {tokens['series'][0]['values'][-2]:,}")


def test_filters_narrow_what_is_shown(console: Console, rows: Rows) -> None:
    """A range, a scope and filters are kept together, and can be cleared; a filter that nothing fits says so."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{rows.workspace}/usage")
        page.get_by_role("link", name="30 d").click()
        page.get_by_role("link", name="Whole account").click()
        expect(stat(page, "Calls")).to_have_text("240")
        page.get_by_role("combobox", name="Workspace").select_option(rows.other)
        page.get_by_role("button", name="Apply").click()
        expect(stat(page, "Calls")).to_have_text("48")
        page.get_by_role("link", name="m5", exact=True).click()
        told = usage_of(console, "/usage", workspace_id=rows.other, model="m5", range="30d")["total"]
        expect(stat(page, "Calls")).to_have_text(str(told["calls"]))
        check_accessible(page)
        page.get_by_role("combobox", name="Model").select_option("demo-chat")
        page.get_by_role("button", name="Apply").click()
        expect(page.get_by_role("heading", name="No calls fit these filters")).to_be_visible()
        page.get_by_role("link", name="Clear the filters").click()
        expect(stat(page, "Calls")).to_have_text("240")
        expect(page.get_by_role("link", name="30 d")).to_have_attribute("aria-current", "true")


def test_hostile_names_are_shown_as_they_are(console: Console, rows: Rows) -> None:
    """Names in tables, legends and filters run nothing and fit; what is deleted says so."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{rows.workspace}/usage?range=30d&by=key")
        table = page.get_by_role("table", name="Usage by API key")
        for text in HOSTILE:
            expect(table).to_contain_text(text)
        expect(table.get_by_role("rowheader", name=f"{rows.keys[-1]} Deleted")).to_be_visible()
        assert page.locator("img, main script").count() == 0
        page.get_by_text("Calls by API key, step by step").click()
        check_accessible(page)
        page.get_by_text("Everything, step by step").click()
        check_fits(page)


def test_csv_is_what_the_table_says(console: Console, rows: Rows) -> None:
    """The files that the page offers hold the numbers that it shows, formulas disarmed."""
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{rows.workspace}/usage?range=30d&by=key")
        _, *groups, _ = cells(page, "Usage by API key")
        files = []
        for link in page.get_by_role("link", name="Download CSV").all():
            with page.expect_download() as download:
                link.click()
            assert download.value.suggested_filename.startswith("usage-")
            text = download.value.path().read_bytes().decode()
            files.append(list(csv.DictReader(io.StringIO(text, newline=""))))
        assert [row["calls"] for row in files[0]] == [row[1] for row in groups]
        assert {row["key"] for row in files[0]} == set(rows.keys)
        assert sum(int(row["calls"]) for row in files[1]) == sum(int(row[1]) for row in groups)


def test_everybody_sees_only_their_own(console: Console, rows: Rows) -> None:
    """A member sees one workspace and is offered no more; an owner sees the account; more is for operators."""
    member = console.person("member", workspace_id=rows.other)
    with console.page(member) as page:
        page.goto(f"/console/w/{rows.other}/usage?range=30d")
        expect(stat(page, "Calls")).to_have_text("48")
        expect(page.get_by_role("navigation", name="Whose calls")).to_have_count(0)
        for address in (f"/console/w/{rows.other}/usage?scope=account", f"/console/w/{rows.other}/usage?scope=all"):
            page.goto(address)
            expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
        page.goto(f"/console/w/{rows.workspace}/usage")
        expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    with console.page(console.person("owner", account_id=rows.account)) as page:
        page.goto(f"/console/w/{rows.other}/usage?range=30d")
        expect(page.get_by_role("navigation", name="Whose calls").get_by_role("link")).to_have_text(
            ["This workspace", "Whole account"]
        )
        page.get_by_role("link", name="Whole account").click()
        expect(stat(page, "Calls")).to_have_text("240")


def test_five_hundred_keys(console: Console) -> None:
    """Of 500 keys the hundred with the most tokens are told apart, the others are one row; the CSV has them all."""
    account = console.account()
    workspace = console.workspace(account_id=account)
    now = int(time.time() * 1000)
    place = {"account_id": account, "workspace_id": workspace}
    calls = [entry(ids.call_id(now), now, key_id=f"ak-{n:016}", input_tokens=n, **place) for n in range(500)]
    store_beside(console.gateway.data_dir, calls)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace}/usage?by=key&range=3h")
        table = cells(page, "Usage by API key")
        assert len(table) == 103
        assert [table[1][0], table[-2][:2], table[-1][1]] == [f"ak-{499:016}", ["400 others", "400"], "500"]
        expect(page.locator(".legend").first).to_contain_text("Other (493)")
        check_fits(page)
        with page.expect_download() as download:
            page.get_by_role("link", name="Download CSV").first.click()
        assert len(download.value.path().read_bytes().splitlines()) == 501
