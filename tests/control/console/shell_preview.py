"""A page with every part of the console's design system on made-up data: to look at, and for the tests of the shell.

    .venv/bin/uvicorn tests.control.console.shell_preview:app

`?rows=0|1|500` sets the number of rows, `?wide=1` makes all names as long as they may be.
"""

from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, FileSystemLoader
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.control.console.assets import PREFIX, static
from gateway.control.console.charts import Series, line_chart, stacked_bars
from gateway.control.console.render import environment, page

NOW = 1_769_860_800_000  # 2026-01-31T12:00:00Z
WIDE = "東京開発本部第二課・会話型検索基盤の検証用の作業場所その壱弐"
LONG = "Production API key for the main application of the customer portal, rotated by the platform team each quarter; " * 2


NAV = [
    ("", [("API keys", "key"), ("Usage", "chart"), ("Rate limits", "gauge"), ("Members", "people"), ("Audit", "audit")]),
    ("Account", [("Workspaces", "workspace"), ("Account limits", "gauge")]),
    ("Installation", [("Models", "model"), ("Upstreams", "upstream"), ("Accounts", "account")]),
]


def shell(*, wide: bool, workspaces: int) -> dict[str, Any]:
    """What every page is given."""
    name = WIDE if wide else "research"
    links = [
        {
            "id": f"llm-7c72iiw36kd8{n:04d}",
            "name": "Default workspace"
            if n == 0
            else f"{name} {n}"[-30:]
            if wide
            else ["research", "search-quality", "billing"][n % 3] + f"-{n}",
            "is_default": n == 0,
            "account_name": "Example Ltd",
            "url": f"/?workspace={n}",
        }
        for n in range(workspaces)
    ]
    own = links[min(1, workspaces - 1)]
    return {
        "csrf": "csrf-of-the-preview",
        "me": {"name": WIDE if wide else "Ada Lovelace", "email": "ada@example.com", "role_label": "Owner of Example Ltd"},
        "place": {
            "account": {"id": "acc-1", "name": "Example Ltd"},
            "workspace": own,
            "workspaces": links,
            "many_accounts": wide,
        },
        "nav": [
            {
                "label": label,
                "items": [{"label": text, "url": "#", "icon": icon, "current": text == "API keys"} for text, icon in items],
            }
            for label, items in NAV
        ],
    }


def rows(count: int, *, wide: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": f"key-{7_300_000 + n * 7919}",
            "tail": f"{7_300_000 + n * 7919}"[-4:],
            "masked": f"sk-…{n * 7919 % 10_000:04d}",
            "active": n % 7 != 3,
            "description": LONG[:200]
            if wide
            else ["Production API key for main application", "", "Nightly evaluation", "CI"][n % 4],
            "created": NOW - n * 86_400_000,
            "used": None if n % 5 == 2 else NOW - n * 3_600_000,
            "calls": n * 12_345_678 % 9_999_999,
        }
        for n in range(count)
    ]


def charts() -> list[Markup]:
    """Charts of few and many series, with gaps, of one point, of nothing and of zeros."""
    hour = 3_600_000
    week = [NOW - (168 - n) * hour for n in range(168)]
    day = week[-24:]
    names = [f"model-{k}" + (" with a name that is far too long for a legend" if k == 2 else "") for k in range(12)]

    def made(count: int, points: int, scale: int, base: int = 0) -> list[Series]:
        return [
            Series(names[k], [k * base + n * (k + 3) * 7919 % (scale // (k + 1)) for n in range(points)]) for k in range(count)
        ]

    first_tokens = [None if n in {5, 6, 8} else 300 + n * 7919 % 900 for n in range(24)]
    return [
        stacked_bars("Calls by model", day, made(12, 24, 9000), step_ms=hour),
        line_chart("Time to first token", day, [Series("All models", first_tokens)], step_ms=hour, kind="ms", lead="Median"),
        line_chart("Tokens", week, made(2, 168, 10**12, 10**11), step_ms=hour),
        line_chart("Lines", day, made(8, 24, 400, 200), step_ms=hour),
        stacked_bars("Calls of a week", week, made(3, 168, 500), step_ms=hour),
        stacked_bars("Refused", day, [Series("limit_requests", [0] * 24)], step_ms=hour),
        line_chart("Failures", [NOW], [Series("All models", [0.034])], step_ms=24 * hour, kind="percent"),
        line_chart("Failures", [], [], step_ms=hour, kind="percent"),
    ]


async def home(request: Request) -> Response:
    """Every part on one page."""
    query = request.query_params
    wide = query.get("wide") == "1"
    return page(
        "preview.html",
        title="API keys",
        rows=rows(int(query.get("rows", "4")), wide=wide),
        query=query.get("q", ""),
        wide=wide,
        now=NOW,
        long=LONG[:200],
        charts=charts(),
        **shell(wide=wide, workspaces=int(query.get("workspaces", "9"))),
    )


async def sign_in(_request: Request) -> Response:
    """The other shell."""
    return page("preview_bare.html", title="Sign in", csrf="csrf-of-the-preview", error="The e-mail or the password is wrong.")


async def problem(_request: Request) -> Response:
    """A page in place of another."""
    return page(
        "problem.html", 404, title="Not found", text="There is no such page, or it is not yours to see.", request_id="req-1"
    )


async def keys(request: Request) -> Response:
    """A stand-in for the admin API: refuses what has `wrong` in it."""
    body = await request.json() if await request.body() else {}
    sent = {
        "body": body,
        "headers": {name: request.headers.get(name) for name in ("x-csrf-token", "if-match", "idempotency-key")},
    }
    if request.path_params["id"] == "stale":
        return JSONResponse({"detail": "It has changed.", "errors": []}, 412, media_type="application/problem+json")
    if body.get("description") == "wrong":
        errors = [
            {"param": "description", "message": "Must not be wrong."},
            {"param": "other", "message": "Something else is wrong, too."},
        ]
        return JSONResponse({"detail": "Wrong.", "errors": errors}, 400, media_type="application/problem+json")
    return JSONResponse({"id": request.path_params["id"], **sent})


async def own_static(request: Request) -> Response:
    """As the application does."""
    return await static(request.path_params["digest"], request.path_params["name"])


def make() -> Starlette:
    """The application, with the preview's own templates beside the console's."""
    made = environment()
    folder = FileSystemLoader(Path(__file__).parent / "preview")
    if not isinstance(made.loader, ChoiceLoader) and made.loader is not None:
        made.loader = ChoiceLoader([made.loader, folder])
    return Starlette(
        routes=[
            Route("/", home),
            Route("/sign-in", sign_in),
            Route("/problem", problem),
            Route("/admin/v1/api-keys/{id}", keys, methods=["POST", "PATCH", "DELETE"]),
            Route(PREFIX + "/{digest}/{name}", own_static),
        ]
    )


app = make()
