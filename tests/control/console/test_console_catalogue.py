"""The pages of models and upstreams with no row, one, and very many, as the server renders them."""

import re
import time
from html import unescape
from urllib.parse import parse_qsl

import pytest

from gateway.domain.grants import Limits
from gateway.domain.upstreams import Upstream
from gateway.storage.sql import catalogue_models
from gateway.storage.sql.catalogue_models import ModelRow
from gateway.storage.sql.engine import writing
from tests.control.admin_api import Control

MODELS, UPSTREAMS = "models", "upstreams"


async def page(control: Control, name: str, **params: str) -> str:
    reply = await control.http.get(f"/console/w/{control.workspace_id}/{name}", params=params)
    assert reply.status_code == 200, reply.text
    return reply.text


def rows(html: str) -> list[str]:
    """The names in the first cells of the rows."""
    return [unescape(each) for each in re.findall(r'<th scope="row"><span class="name">([^<]*)', html)]


def next_page(html: str) -> dict[str, str]:
    """The parameters of the link to the next page."""
    found = re.search(r'href="\?([^"]*)" rel="next"', html)
    assert found is not None
    return dict(parse_qsl(unescape(found[1])))


async def empty(control: Control) -> None:
    control.upstreams.fixed.clear()
    await control.catalogue.reload()


async def store(control: Control, names: list[str]) -> None:
    async with writing(control.services.engine) as conn:
        for name in names:
            await catalogue_models.put(conn, ModelRow(name, "chat", "Acme", Limits(rpm=600), 1, 1))


async def test_no_rows_say_what_to_do(control: Control) -> None:
    """Empty pages say what to do, and offer it; they have no table and nothing to search."""
    await empty(control)
    html = await page(control, MODELS)
    assert "No models yet" in html
    assert f"/console/w/{control.workspace_id}/upstreams" in html
    html += await page(control, UPSTREAMS)
    assert "No upstreams yet" in html
    assert "<table" not in html
    assert 'type="search" name="q"' not in html


async def test_a_model_without_a_name_in_the_database(control: Control) -> None:
    """A model that only an upstream knows is shown as such, with an Edit that stores it and nothing to forget."""
    html = await page(control, MODELS)
    assert rows(html) == ["served-model"]
    assert "From an upstream" in html
    assert "Edit served-model" in html
    assert "Forget served-model" not in html


async def test_five_hundred_models_come_in_pages(control: Control) -> None:
    """A hundred a page, each once; the filter stays over the pages; a page takes well under a second."""
    await empty(control)
    names = [f"acme/model-{n:03}" for n in range(500)]
    await store(control, [*names, *(f"other-{n}" for n in range(5))])
    seen: list[str] = []
    params = {"q": "acme/", "vendor": "Acme", "type": "chat"}
    began = time.monotonic()
    for _ in range(5):
        html = await page(control, MODELS, **params)
        seen += rows(html)
        if len(seen) < 500:
            params = next_page(html)
    assert seen == names
    assert 'rel="next"' not in html
    assert time.monotonic() - began < 10


async def test_five_hundred_upstreams_come_in_pages(control: Control) -> None:
    """A hundred a page, each once, by name; of many models each names three."""
    names = {f"model-{n:03}": f"model-{n:03}" for n in range(123)}
    control.upstreams.fixed = [
        Upstream(f"u{n}", f"Server {n:03}", "http://h/v1", api_key="the-secret", models=names, source="config")
        for n in range(500)
    ]
    html = await page(control, UPSTREAMS)
    assert html.count("and 120 more") == 100
    assert "the-secret" not in html
    seen = rows(html)
    while len(seen) < 500:
        html = await page(control, UPSTREAMS, **next_page(html))
        seen += rows(html)
    assert seen == [f"Server {n:03}" for n in range(500)]
    assert "gateway.toml" in html


@pytest.mark.parametrize(("default", "shown"), [(Limits(), "No limit"), (Limits(rpm=77), ">77<")])
async def test_limits_of_the_settings_are_told(control: Control, default: Limits, shown: str) -> None:
    """Where a model sets no limit, the settings' default is shown as such, since it is what holds."""
    object.__setattr__(control.services, "default_limits", default)
    html = await page(control, MODELS)
    assert shown in html
    assert ('<span class="second">default</span>' in html) == (default.rpm is not None)


async def test_parameters_are_checked(control: Control) -> None:
    """A type that there is not, a wrong cursor and an unknown parameter are refused, on a page for people."""
    for query in ("type=image", "cursor=x", "targt=1"):
        reply = await control.http.get(f"/console/w/{control.workspace_id}/models?{query}")
        assert reply.status_code == 400
        assert "That does not work" in reply.text
    assert "No more models" in await page(control, MODELS, cursor="Inp6enoi")


async def test_pages_ask_for_the_right(control: Control) -> None:
    """Without a sign-in both pages lead to the form."""
    for name in (MODELS, UPSTREAMS):
        reply = await control.http.get(f"/console/w/{control.workspace_id}/{name}", headers={"authorization": ""})
        assert reply.status_code in (303, 401)
