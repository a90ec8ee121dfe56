"""Pages and their filters."""

from datetime import UTC, datetime

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from gateway.control.console import render
from gateway.control.console.render import environment

SPACE = "\u00a0"
NOON = 1_769_860_800_000  # 2026-01-31T12:00:00Z
HOSTILE = "<script>alert('1')</script>\"&"


def made(source: str, **context: object) -> str:
    """A piece of template with the parts of `ui.html`."""
    return render.render(environment().from_string('{% import "ui.html" as ui %}' + source), **context)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "\u2013"), (0, "0"), (7, "7"), (1_234_567, "1,234,567"), (-1234, "-1,234"), (10**12, "1,000,000,000,000")],
)
def test_numbers_are_grouped(value: float | None, shown: str) -> None:
    """A number is shown whole, in groups of three digits."""
    assert render.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "\u2013"),
        (0, "0"),
        (9999, "9,999"),
        (0.5, "0.5"),
        (10_000, "10 k"),
        (12_345, "12.3 k"),
        (999_499, "999 k"),
        (999_500, "1 M"),
        (1_234_567, "1.23 M"),
        (1_200_000, "1.2 M"),
        (987_654_321, "988 M"),
        (10**12, "1 T"),
        (12_345 * 10**12, "12,345 T"),
    ],
)
def test_compact_numbers_have_three_digits_and_a_unit(value: float | None, shown: str) -> None:
    """A large number is rounded to three digits, and one that rounds up to a thousand takes the next unit."""
    assert render.compact(value) == shown.replace(" ", SPACE)


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "\u2013"),
        (0, "0 ms"),
        (430.4, "430 ms"),
        (999.6, "1 s"),
        (1234, "1.2 s"),
        (59_949, "59.9 s"),
        (59_960, "1 min"),
        (125_000, "2 min|5 s"),
        (3_600_000, "1 h"),
        (11_040_000, "3 h|4 min"),
        (183_600_000, "2 d|3 h"),
    ],
)
def test_durations_are_in_units_that_fit(ms: float | None, shown: str) -> None:
    """A time span is shown in the unit, or the two units, that fit it."""
    assert render.duration(ms) == shown.replace(" ", SPACE).replace("|", " ")


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(None, "\u2013"), (0, "0%"), (1, "100%"), (0.0123, "1.2%"), (0.5, "50%"), (0.0000001, "<0.1%"), (0.9999999, ">99.9%")],
)
def test_shares_never_round_to_none_or_all(ratio: float | None, shown: str) -> None:
    """One failure in a million calls does not read as none."""
    assert render.percent(ratio) == shown


@pytest.mark.parametrize(
    "at", [NOON, "2026-01-31T12:00:00.000Z", "2026-01-31T13:00:00+01:00", datetime(2026, 1, 31, 12, tzinfo=UTC)]
)
def test_times_are_elements_that_read_in_utc(at: float | str | datetime) -> None:
    """A time can be read without script, and carries the moment for the script that makes it local."""
    expected = '<time datetime="2026-01-31T12:00:00Z" data-time="short">31 Jan 2026, 12:00 UTC</time>'
    assert render.time(at) == expected


def test_a_time_that_is_missing_says_so() -> None:
    """No time is shown as the words that the page chose, escaped."""
    assert render.time(None, missing="<Never>") == '<span class="nothing">&lt;Never&gt;</span>'


@pytest.mark.parametrize(
    "source",
    [
        "{{ text }}",
        "{{ ui.badge(text) }}",
        "{{ ui.copyable(text, text) }}",
        "{{ ui.code_block(text, text) }}",
        "{{ ui.name(text, text, text) }}",
        "{{ ui.clamp(text) }}",
        "{{ ui.notice(text) }}",
        "{{ ui.field('n', text, text, hint=text, error=text, attrs={'data-x': text}) }}",
        "{{ ui.textarea('n', text, text) }}",
        "{{ ui.select('n', text, [(text, text)], text) }}",
        "{{ ui.checkbox('n', text) }}",
        "{{ ui.confirm_field(text, text) }}",
        "{{ ui.search(text, text, keep={text: text}) }}",
        "{{ ui.button(text, opens=text, fill={'name': text, text: [text]}) }}",
        "{{ ui.icon_button('edit', text, fill={'name': text}, opens='x') }}",
        "{{ ui.menu_item(text, opens='x', fill={'name': text}) }}",
        "{% call ui.menu(text) %}{% endcall %}",
        "{{ ui.link_button(text, text) }}",
        "{{ ui.stat(text, text, text) }}",
        "{{ ui.meter(text, 1, 2, text) }}",
        "{{ ui.tabs(text, [{'label': text, 'url': text, 'current': true}]) }}",
        "{{ ui.pagination(text, text, text) }}",
        "{% call ui.page_header(text, text) %}{{ text }}{% endcall %}",
        "{% call ui.empty('key', text, text) %}{% endcall %}",
        "{% call ui.table(text, [text, {'label': text}]) %}{% endcall %}",
        "{% call ui.dialog('d', text, text) %}{% endcall %}",
        "{% call ui.form('POST', text, goto=text, toast=text, etag=text) %}{% endcall %}",
    ],
)
def test_parts_escape_what_they_show(source: str) -> None:
    """No part of a page lets markup through, in text or in an attribute."""
    shown = made(source, text=HOSTILE)
    assert "alert(" in shown
    assert "<script" not in shown
    # An attribute that was broken out of would leave a bare quote behind the text.
    assert '</script>"' not in shown
    assert "'1'" not in shown.replace("data-fill='", "")


def test_a_misspelt_name_stops_the_page() -> None:
    """A name that a page was not given is an error, not a blank."""
    with pytest.raises(UndefinedError):
        made("{{ nobody_gave_this }}")
    with pytest.raises(KeyError):
        made("{{ asset('no-such-file.js') }}")


def test_ids_are_unique_and_the_same_each_time() -> None:
    """Fields of one name have IDs of their own, and a page does not change from one load to the next."""
    source = "{{ ui.field('name', 'Name') }}{{ ui.field('name', 'Name') }}"
    first = made(source)
    assert 'id="f-1"' in first
    assert 'id="f-2"' in first
    assert made(source) == first


def test_pages_forbid_what_they_do_not_need() -> None:
    """Each page has a policy without inline script or style, is never framed, never cached, and sends its origin with forms."""
    response = render.page("problem.html", 404, title="Not found", text="There is no such page.")
    assert response.status_code == 404
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "same-origin"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_markup_of_ours_is_kept() -> None:
    """What a filter makes is not escaped a second time."""
    assert made("{{ at|time('date') }}", at=NOON) == Markup(
        '<time datetime="2026-01-31T12:00:00Z" data-time="date">31 Jan 2026</time>'
    )
