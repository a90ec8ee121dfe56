"""Signing in and out, one-time links and the profile, in a browser."""

import re

from tests.control.console.console_world import PASSWORD, Console, check_accessible, check_fits, expect


def test_sign_in_goes_where_one_wanted(console: Console) -> None:
    """Who asks for a page before signing in gets the form, is told what is wrong, and lands on that page afterwards."""
    person = console.person("operator")
    with console.page() as page:
        page.goto("/console/profile")
        expect(page).to_have_url(re.compile("/console/sign-in"))
        check_accessible(page)
        check_fits(page)
        page.get_by_label("E-mail address").fill(person.email)
        page.get_by_label("Password").fill("not the password")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
        expect(page.get_by_label("E-mail address")).to_have_value(person.email)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(re.compile("/console/profile$"))
        check_accessible(page)
        check_fits(page)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("You are signed out.")).to_be_visible()
        page.goto("/console/profile")
        expect(page).to_have_url(re.compile("/console/sign-in"))


def test_invitation_makes_a_person(console: Console) -> None:
    """An invitation asks for a name and a good password, signs in, and opens nothing a second time."""
    link = console.gateway.admin("POST", "/invitations", {"email": "New@Example.com", "role": "operator"})["path"]
    with console.page() as page:
        page.goto(link)
        check_accessible(page)
        check_fits(page)
        page.get_by_label("Your name").fill("Kim")
        page.get_by_label("Password").fill("short")
        page.get_by_role("button", name="Join").click()
        expect(page.get_by_text("Use at least 12 characters")).to_be_visible()
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Join").click()
        expect(page).to_have_url(re.compile("/console/(w/.*)?"))
        expect(page.get_by_text("new@example.com").or_(page.get_by_text("Kim")).first).to_be_attached()
        page.goto(link)
        expect(page.get_by_text("This link was used, withdrawn, or has expired")).to_be_visible()


def test_profile_renames_and_ends_sessions(console: Console) -> None:
    """One's own name changes where it is shown, and another session of one's own can be ended."""
    person = console.person("operator")
    with console.page(person) as page, console.page() as other:
        other.goto("/console/sign-in")
        other.get_by_label("E-mail address").fill(person.email)
        other.get_by_label("Password").fill(PASSWORD)
        other.get_by_role("button", name="Sign in").click()
        expect(other.get_by_role("button", name="Sign out")).to_be_attached()
        page.goto("/console/profile")
        page.get_by_role("textbox", name="Name", exact=True).fill("Robin <b>Ray</b>")
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.locator(".person-name")).to_have_text("Robin <b>Ray</b>")
        rows = page.get_by_role("table", name="Sessions").get_by_role("row")
        expect(rows).to_have_count(3)
        rows.filter(has_not_text="This one").get_by_role("button", name="End").click()
        page.get_by_role("dialog").get_by_role("button", name="End session").click()
        expect(rows).to_have_count(2)
        other.goto("/console/profile")
        expect(other).to_have_url(re.compile("/console/sign-in"))


def test_profile_changes_the_password(console: Console) -> None:
    """A new password takes the present one, and counts from then on."""
    person = console.person("operator")
    with console.page(person) as page:
        page.goto("/console/profile")
        page.get_by_label("Present password").fill("not it at all")
        page.get_by_label("New password").fill("another long password")
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_text("This is not your present password.")).to_be_visible()
        page.get_by_label("Present password").fill(PASSWORD)
        page.get_by_role("button", name="Change password").click()
        expect(page.get_by_text("The password is changed.")).to_be_visible()
