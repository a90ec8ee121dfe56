"""The API's description for people, in a browser."""

import pytest

from tests.control.console.console_world import Console, check_accessible, check_fits, expect

pytestmark = pytest.mark.xdist_group("console-upstreams")


def test_the_description_can_be_read(console: Console) -> None:
    """Without signing in, the page lists the routes by section, opens one to its examples, fits a phone, and keeps nobody out."""
    with console.page() as page:
        page.goto("/admin/v1/docs")
        page.get_by_role("navigation").get_by_role("link", name="Upstreams").click()
        page.locator("summary").filter(has_text="/admin/v1/upstreams/{upstream_id}/test").click()
        shown = page.locator("details[open]")
        expect(shown).to_contain_text("Takes the right manage_catalogue.")
        expect(shown).to_contain_text("The server answered 401 Unauthorized")
        check_accessible(page)
        check_fits(page)
