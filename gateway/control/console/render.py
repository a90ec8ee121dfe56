"""Pages out of templates: the Jinja2 environment, its filters, and the headers of every page."""

from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from itertools import count
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from starlette.responses import HTMLResponse

from gateway.control.console.assets import asset

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    # Not `no-referrer`: under that, browsers send `Origin: null` with forms, and the check against forged requests reads it.
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=(), clipboard-read=()",
    "cache-control": "no-store",
}

NOTHING = "\u2013"
_NBSP = "\u00a0"
_THOUSAND = 1000
_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000

_ids: ContextVar[Callable[[], int]] = ContextVar("ids")


def number(value: float | None, digits: int = 0) -> str:
    """A number with separators of thousands, such as `1,234,567`; a dash for None."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def compact(value: float | None) -> str:
    """A number as three digits and a unit (k, M, G, T), such as `1.2 M`; exact below 10,000. The space never breaks."""
    if value is None:
        return NOTHING
    if abs(value) < 10 * _THOUSAND:
        return number(value) if float(value).is_integer() else f"{value:,.4g}"
    for unit in "kMGT":
        value /= _THOUSAND
        # 999,950 is 1 M, not 1,000 k: what counts is the number after rounding.
        if abs(float(f"{value:.3g}")) < _THOUSAND or unit == "T":
            break
    return f"{_short(value)}{_NBSP}{unit}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004 — three digits


def duration(ms: float | None) -> str:
    """A time span given in milliseconds: `430 ms`, `1.2 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`; a dash for None."""
    if ms is None:
        return NOTHING
    if ms < _THOUSAND and round(ms) < _THOUSAND:
        return f"{ms:.0f}{_NBSP}ms"
    if round(ms / 100) < 600:  # noqa: PLR2004 — tenths of a second in a minute
        return f"{ms / _THOUSAND:.1f}{_NBSP}s".replace(".0", "")
    whole = round(ms / _THOUSAND) * _THOUSAND
    for size, unit, part_size, part in (
        (_DAY_MS, "d", _HOUR_MS, "h"),
        (_HOUR_MS, "h", _MINUTE_MS, "min"),
        (_MINUTE_MS, "min", _THOUSAND, "s"),
    ):
        if whole >= size:
            rest = whole % size // part_size
            return f"{whole // size}{_NBSP}{unit}" + (f" {rest}{_NBSP}{part}" if rest else "")
    return f"{whole // _THOUSAND}{_NBSP}s"


def percent(ratio: float | None, digits: int = 1) -> str:
    """A share such as 0.0123 as `1.2%`; a dash for None. Never rounds something to nothing or to everything."""
    if ratio is None:
        return NOTHING
    shown, least = ratio * 100, 10**-digits
    if 0 < shown < least:
        return f"<{least:.{digits}f}%"
    if 100 - least < shown < 100:  # noqa: PLR2004 — all
        return f">{100 - least:.{digits}f}%"
    return f"{shown:.{digits}f}%".replace(f".{'0' * digits}%", "%")


def _moment(at: float | str | datetime) -> datetime:
    if isinstance(at, datetime):
        return at.astimezone(UTC)
    if isinstance(at, str):
        return datetime.fromisoformat(at).astimezone(UTC)
    return datetime.fromtimestamp(at / _THOUSAND, UTC)


def time(at: float | str | datetime | None, style: str = "short", missing: str = NOTHING) -> Markup:
    """A `<time>` element for Unix milliseconds, an RFC 3339 text or a datetime. It reads in UTC; `times.js` makes it local.

    `style`: `short` (day and minute), `date`, `full` (to the second), or `relative` ("3 hours ago").
    """
    if at is None:
        return Markup('<span class="nothing">{}</span>').format(missing)
    moment = _moment(at)
    shown = {"date": f"{moment:%d %b %Y}", "full": f"{moment:%d %b %Y, %H:%M:%S} UTC"}.get(style, f"{moment:%d %b %Y, %H:%M} UTC")
    stamp = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return Markup('<time datetime="{}" data-time="{}">{}</time>').format(stamp, style, shown.removeprefix("0"))


def unique(prefix: str) -> str:
    """An ID that no other element of the page has; the same page has the same IDs each time."""
    return f"{prefix}-{_ids.get()()}"


@cache
def environment() -> Environment:
    """The templates of the package. Everything is escaped, and a name that is not given is an error."""
    made = Environment(
        loader=PackageLoader("gateway.control.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    made.filters |= {"number": number, "compact": compact, "duration": duration, "percent": percent, "time": time}
    made.globals |= {"asset": asset, "unique": unique, "product": "Workspace Gateway"}
    return made


def render(template: str | Template, **context: Any) -> str:
    """The text of a page, of a template's name or of one that is at hand."""
    _ids.set(count(1).__next__)
    return environment().get_template(template).render(**context)


def page(template: str, status: int = HTTPStatus.OK, **context: Any) -> HTMLResponse:
    """A page as a response: never cached, never framed, and without any script or style that is not a file of ours."""
    return HTMLResponse(render(template, **context), status_code=status, headers=HEADERS)
