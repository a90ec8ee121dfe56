"""The page of models, in a browser."""

import re
import uuid

import pytest
from playwright.sync_api import Page

from tests.control.console.console_world import Console, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-models")


def name() -> str:
    """A model's name that no other test has."""
    return f"vendor-{uuid.uuid4().hex[:8]}/model"


def texts(*parts: str) -> re.Pattern[str]:
    """These texts, one after the other."""
    return re.compile(".*".join(re.escape(part) for part in parts), re.DOTALL)


def open_models(console: Console, page: Page, query: str = "") -> None:
    page.goto(f"/console/w/{console.gateway.default_workspace()}/models{query}")


def test_a_model_is_added_edited_and_forgotten(console: Console) -> None:
    """An operator adds a model, changes what is said of it, and forgets it; each change is that of the REST API."""
    model = name()
    with console.page(console.operator) as page:
        open_models(console, page)
        page.get_by_role("button", name="Add model").click()
        dialog = page.get_by_role("dialog")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_label("Name").fill(model)
        dialog.get_by_label("Type").select_option("Embedding")
        dialog.get_by_label("Token / min").fill("1,000")
        dialog.get_by_role("button", name="Add model").click()
        expect(dialog.get_by_text("tpm cannot be set without rpm")).to_be_visible()
        dialog.get_by_label("Times / min").fill("60")
        dialog.get_by_role("button", name="Add model").click()
        expect(page.get_by_text(f"{model} is in the catalogue.")).to_be_visible()
        row = page.get_by_role("row").filter(has_text=model)
        expect(row).to_contain_text(texts("Embedding", "60", "1,000", "Stored", "Nobody serves it"))
        stored = console.gateway.admin("GET", f"/models/{model}")
        assert (stored["type"], stored["vendor"], stored["rpm"], stored["tpm"]) == ("embedding", None, 60, 1000)

        page.get_by_role("button", name=f"Edit {model}").click()
        expect(dialog.get_by_text(model)).to_be_visible()
        check_accessible(page)
        check_fits(page)
        dialog.get_by_label("Type").select_option("Not said")
        dialog.get_by_label("Vendor").fill("<b>Acme</b>")
        dialog.get_by_label("Times / min").fill("")
        dialog.get_by_label("Token / min").fill("")
        dialog.get_by_role("button", name="Save changes").click()
        expect(row).to_contain_text(texts("<b>Acme</b>", "Not said", "No limit", "No limit"))
        stored = console.gateway.admin("GET", f"/models/{model}")
        assert (stored["type"], stored["vendor"], stored["rpm"], stored["tpm"]) == (None, "<b>Acme</b>", None, None)

        page.get_by_role("button", name=f"Forget {model}").click()
        expect(dialog).to_contain_text("No workspace is granted it.")
        check_accessible(page)
        check_fits(page)
        dialog.get_by_role("button", name="Forget model").click()
        expect(page.get_by_text("The model is forgotten.")).to_be_visible()
        expect(row).to_have_count(0)


def test_forgetting_says_which_grants_go(console: Console) -> None:
    """Before a model is forgotten, the dialog counts the grants that go with it; they are gone afterwards."""
    model, account = name(), console.account()
    console.gateway.admin("PUT", f"/models/{model}", {})
    workspaces = [console.workspace(account_id=account) for _ in range(2)]
    for workspace in workspaces:
        console.gateway.admin("PUT", f"/workspaces/{workspace}/grants/{model}", {})
    with console.page(console.operator) as page:
        open_models(console, page, f"?q={model}")
        page.get_by_role("button", name=f"Forget {model}").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("2 workspaces are granted it.")
        expect(dialog).to_contain_text("No upstream serves it, so it leaves the catalogue.")
        dialog.get_by_role("button", name="Forget model").click()
        expect(page.get_by_text("No model found")).to_be_visible()
        check_accessible(page)
        check_fits(page)
    assert console.gateway.admin("GET", f"/workspaces/{workspaces[0]}/grants")["data"] == []


def test_a_stored_model_is_not_added_again(console: Console) -> None:
    """Adding a model of a name that is stored already says so and changes nothing; a name is asked for."""
    model = name()
    console.gateway.admin("PUT", f"/models/{model}", {"rpm": 7})
    with console.page(console.operator) as page:
        open_models(console, page)
        page.get_by_role("button", name="Add model").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Add model").click()
        expect(dialog.get_by_text("Enter the model's name.")).to_be_visible()
        dialog.get_by_label("Name").fill(f" {model} ")
        dialog.get_by_role("button", name="Add model").click()
        expect(dialog.get_by_text("This model is stored already; edit it instead.")).to_be_visible()
        expect(dialog.get_by_label("Name")).to_be_focused()
    assert console.gateway.admin("GET", f"/models/{model}")["rpm"] == 7


def test_models_are_found_and_filtered(console: Console) -> None:
    """Search, vendor and type narrow the list together, stay as they were chosen, and can be cleared."""
    vendor = f"Vendor {uuid.uuid4().hex[:8]}"
    chat, embedding = name(), name()
    console.gateway.admin("PUT", f"/models/{chat}", {"type": "chat", "vendor": vendor})
    console.gateway.admin("PUT", f"/models/{embedding}", {"type": "embedding", "vendor": vendor})
    with console.page(console.operator) as page:
        open_models(console, page)
        rows = page.get_by_role("table", name="Models").locator("tbody tr")
        filters = page.get_by_role("search", name="Models")
        filters.get_by_label("Vendor", exact=True).select_option(vendor)
        page.get_by_role("button", name="Filter").click()
        expect(rows).to_have_count(2)
        filters.get_by_label("Type", exact=True).select_option("Embedding")
        page.get_by_role("button", name="Filter").click()
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(embedding)
        expect(filters.get_by_label("Vendor", exact=True)).to_have_value(vendor)
        check_accessible(page)
        check_fits(page)
        page.get_by_label("Search by name or vendor").fill("demo-")
        page.keyboard.press("Enter")
        expect(page.get_by_text("No model found")).to_be_visible()
        page.get_by_role("link", name="Clear").click()
        expect(page).to_have_url(re.compile("/models$"))
        page.get_by_label("Search by name or vendor").fill("DEMO-C")
        page.keyboard.press("Enter")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text(texts("demo-chat", "From an upstream", "1, healthy"))
        rows.get_by_role("link", name="demo").click()
        expect(page.get_by_role("heading", name="Upstreams")).to_be_visible()


def test_hostile_names_are_text(console: Console) -> None:
    """Names and vendors of any kind are shown as they are, fit a phone, and can be edited."""
    model = f'"><img src=x onerror=alert(1)>{{{{7*7}}}}/{uuid.uuid4().hex}' + "長" * 150
    console.gateway.admin("PUT", f"/models/{model}".replace("?", "%3F"), {"vendor": "=cmd()<script>" + "V" * 100})
    with console.page(console.operator) as page:
        page.on("dialog", lambda _: pytest.fail("a script of a name has run"))
        open_models(console, page, "?q=onerror")
        expect(page.get_by_role("row").filter(has_text=model)).to_have_count(1)
        check_fits(page)
        page.get_by_role("button", name="Edit").first.click()
        page.get_by_role("dialog").get_by_label("Times / min").fill("5")
        page.get_by_role("dialog").get_by_role("button", name="Save changes").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
        expect(page.get_by_role("row").filter(has_text=model)).to_contain_text("5")


def test_models_are_for_operators(console: Console) -> None:
    """Whoever is no operator finds neither the page in the navigation nor the page itself."""
    workspace = console.workspace()
    person = console.person("admin", account_id=account_of(console, workspace), workspace_id=workspace)
    with console.page(person) as page:
        page.goto(f"/console/w/{workspace}/models")
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
        page.goto(f"/console/w/{workspace}/keys")
        expect(page.get_by_role("link", name="API keys")).to_be_visible()
        expect(page.get_by_role("link", name="Models")).to_have_count(0)
        expect(page.get_by_role("link", name="Upstreams")).to_have_count(0)


def account_of(console: Console, workspace_id: str) -> str:
    return str(console.gateway.admin("GET", f"/workspaces/{workspace_id}")["account_id"])
