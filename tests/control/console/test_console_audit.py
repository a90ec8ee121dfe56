"""The page of the audit trail, in a browser."""

import csv
import io
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from gateway.domain import ids
from gateway.storage.sql import audit
from gateway.storage.sql.audit import AuditRow
from gateway.storage.sql.engine import create_engine, writing
from tests.control.console.console_world import Console, check_accessible, check_fits, expect
from tests.control.usage_rows import run_beside

pytestmark = pytest.mark.xdist_group("console-audit")

HOSTILE = '"><img src=x onerror=alert(1)>'


def events(page: Page) -> Locator:
    return page.locator("details.event")


def words(page: Page) -> Sequence[str]:
    found: Sequence[str] = page.locator(".event-words").all_inner_texts()
    return found


def write_beside(data_dir: Path, rows: Sequence[AuditRow]) -> None:
    async def work() -> None:
        engine = create_engine(f"sqlite+aiosqlite:///{data_dir / 'gateway.db'}")
        async with writing(engine) as conn:
            for row in rows:
                await audit.insert(conn, row)
        await engine.dispose()

    run_beside(work)


def test_changes_are_told_in_words_with_what_they_changed(console: Console) -> None:
    """A change stands on top with who and what; opened, it shows what was before and after, and leads to its target."""
    workspace = console.workspace("長" * 30)
    key = console.gateway.create_key(workspace, "Nightly")
    console.gateway.admin("PATCH", f"/api-keys/{key['id']}", {"description": HOSTILE})
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace}/audit?scope=workspace")
        assert words(page) == ["Edited API key", "Created API key", "Created workspace"]
        first = events(page).first
        expect(first.locator("summary")).to_contain_text("admin token")
        expect(first.locator("summary")).to_contain_text("key.update")
        expect(first.locator("summary")).to_contain_text(f"Description: Nightly → {HOSTILE}")
        expect(first.get_by_role("table")).to_be_hidden()
        first.locator("summary").focus()
        page.keyboard.press("Enter")
        cells = first.get_by_role("table").get_by_role("row").nth(1)
        expect(cells.get_by_role("rowheader")).to_have_text("Description")
        expect(cells.locator("del")).to_have_text("Nightly")
        expect(cells.locator("ins")).to_have_text(HOSTILE)
        expect(first.locator(".facts")).to_contain_text("127.0.0.1")
        expect(first.locator(".facts")).to_contain_text("長" * 30)
        assert page.locator("main img").count() == 0
        assert key["key"] not in page.content()
        events(page).nth(1).locator("summary").click()
        check_accessible(page)
        check_fits(page)
        first.get_by_role("link", name=key["id"]).click()
        expect(page).to_have_url(re.compile(f"/console/w/{workspace}/keys\\?q={key['id']}$"))
        expect(page.get_by_role("table", name="API keys").get_by_text(key["id"])).to_be_visible()


def test_targets_have_pages(console: Console) -> None:
    """Each kind of target that has a page is led to, and the page is there."""
    account = console.account()
    workspace = console.workspace(account_id=account)
    admin, model = console.gateway.admin, f"audited-{ids.key_id()}"
    admin("PUT", f"/models/{model}", {"rpm": 5})
    admin("PUT", f"/workspaces/{workspace}/grants/{model}", {"rpm": 1})
    admin("PUT", f"/accounts/{account}/limits/{model}", {"rpm": 4})
    upstream = admin("POST", "/upstreams", {"base_url": "http://127.0.0.1:9/v1", "models": [model], "enabled": False})["id"]
    admin("POST", "/invitations", {"email": "audited@example.com", "role": "viewer", "workspace_id": workspace})
    targets = {
        "account.create": account,
        "workspace.create": workspace,
        "model.set": model,
        "grant.set": f"{workspace}/{model}",
        "limits.set": f"{account}/{model}",
        "upstream.create": upstream,
    }
    with console.page(console.operator) as page:
        for action, target in targets.items():
            page.goto(f"/console/w/{workspace}/audit?scope=all&target={target}&action={action}")
            events(page).locator("summary").click()
            with page.expect_response(lambda reply: "/console/w/" in reply.url and "/audit" not in reply.url) as reply:
                events(page).get_by_role("link", name=target, exact=True).click()
            assert reply.value.status == 200, action
        page.goto(f"/console/w/{workspace}/audit?action=member")
        events(page).locator("summary").first.click()
        events(page).get_by_role("link").first.click()
        expect(page).to_have_url(re.compile(f"/console/w/{workspace}/members$"))


def test_filters_and_csv(console: Console) -> None:
    """What, who, target and days narrow what is shown, together; the CSV holds the same rows; and all can be cleared."""
    account = console.account()
    workspace = console.workspace(account_id=account)
    at = datetime(2026, 1, 31, tzinfo=UTC)
    rows = [
        AuditRow(
            id=ids.call_id(n),
            at=int((at + timedelta(hours=8 * n)).timestamp() * 1000),
            actor=f"person-{n % 2}@example.com",
            action=("key.create", "key.delete", "grant.set")[n % 3],
            target=f"{workspace}/m{n}",
            account_id=account,
            workspace_id=workspace,
            before=None,
            after={"name": f"=cmd({n})"},
            client="192.0.2.1",
        )
        for n in range(9)
    ]
    write_beside(console.gateway.data_dir, rows)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace}/audit?scope=workspace")
        expect(events(page)).to_have_count(10)
        expect(page.get_by_role("heading", name="Saturday, 31 January 2026")).to_be_visible()
        page.get_by_role("combobox", name="What").select_option("API keys")
        page.get_by_role("button", name="Apply").click()
        expect(events(page)).to_have_count(6)
        page.get_by_role("combobox", name="Who").fill("person-0@example.com")
        page.get_by_label("From", exact=True).fill("2026-02-01")
        page.get_by_label("To", exact=True).fill("2026-02-01")
        page.get_by_role("button", name="Apply").click()
        expect(events(page)).to_have_count(1)
        expect(events(page)).to_contain_text(f"{workspace}/m4")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download CSV").click()
        table = list(csv.DictReader(io.StringIO(download.value.path().read_bytes().decode(), newline="")))
        assert [(row["target"], row["after"]) for row in table] == [(f"{workspace}/m4", '{"name": "=cmd(4)"}')]
        page.get_by_label("Target ID").fill("nothing")
        page.get_by_role("button", name="Apply").click()
        expect(page.get_by_role("heading", name="No change fits these filters")).to_be_visible()
        check_accessible(page)
        check_fits(page)
        page.get_by_role("link", name="Clear the filters").click()
        expect(events(page)).to_have_count(10)
        page.goto(f"/console/w/{workspace}/audit?from=2026-02-31")
        expect(page.get_by_text("There is no such day")).to_be_visible()


def test_many_changes_come_in_pages(console: Console) -> None:
    """Of many changes each is on one page: a hundred at a time, the newest first."""
    account = console.account()
    workspace = console.workspace(account_id=account)
    now = int(time.time() * 1000) - 10**7
    place = {"account_id": account, "workspace_id": workspace}
    rows = [
        AuditRow(ids.call_id(now), now - n, "a" * 120, "key.create", "t" * 300, before=None, after=None, client=None, **place)
        for n in range(249)
    ]
    write_beside(console.gateway.data_dir, rows)
    with console.page(console.operator) as page:
        page.goto(f"/console/w/{workspace}/audit?scope=workspace")
        counts = [events(page).count()]
        check_fits(page)
        for _ in range(2):
            page.get_by_role("link", name="Next page").click()
            expect(page.get_by_role("link", name="First page")).to_be_visible()
            page.wait_for_url(re.compile("cursor="))
            counts.append(events(page).count())
            page.wait_for_load_state()
        assert counts == [100, 100, 50]
        expect(page.get_by_role("link", name="Next page")).to_have_count(0)
        page.get_by_role("link", name="First page").click()
        expect(events(page).first).to_contain_text("Created workspace")


def test_everybody_reads_of_their_own_places(console: Console) -> None:
    """An admin reads of the workspace alone, an owner of the account, and who may read nothing is not led here."""
    account = console.account()
    workspace, other = console.workspace(account_id=account), console.workspace(account_id=account)
    with console.page(console.person("admin", workspace_id=workspace)) as page:
        page.goto(f"/console/w/{workspace}/audit")
        assert words(page)[-1] == "Created workspace"
        expect(page.get_by_text(other)).to_have_count(0)
        expect(page.get_by_role("navigation", name="Whose changes")).to_have_count(0)
        for scope in ("account", "all"):
            page.goto(f"/console/w/{workspace}/audit?scope={scope}")
            expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
    with console.page(console.person("owner", account_id=account)) as page:
        page.goto(f"/console/w/{workspace}/audit")
        expect(page.locator(".event-target", has_text=other)).to_be_visible()
        expect(page.get_by_role("navigation", name="Whose changes").get_by_role("link")).to_have_text(
            ["This workspace", "Whole account"]
        )
    with console.page(console.person("viewer", workspace_id=workspace)) as page:
        page.goto(f"/console/w/{workspace}/usage")
        expect(page.get_by_role("link", name="Audit")).to_have_count(0)
        page.goto(f"/console/w/{workspace}/audit")
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
