"""What the pages of workspaces and grants say at the bounds: nothing, one, five hundred, and no room for more."""

import re
from dataclasses import replace

from gateway.domain.upstreams import Upstream
from tests.control.admin_api import Control


async def page(control: Control, name: str, workspace_id: str) -> str:
    reply = await control.http.get(f"/console/w/{workspace_id}/{name}")
    assert reply.status_code == 200, reply.text
    return reply.text


async def serve(control: Control, names: list[str]) -> None:
    """Have the one upstream serve these models."""
    models = {name: name for name in names}
    control.upstreams.fixed = [Upstream("config", "fixed", "http://fixed.test/v1", api_key=None, models=models, source="config")]
    await control.catalogue.reload()


def rows(text: str) -> list[str]:
    return re.findall(r'<tr data-model="([^"]*)"', text)


async def test_an_empty_catalogue_says_what_to_do(control: Control) -> None:
    """Without any model the picker says where models come from, and offers an operator the way there."""
    await serve(control, [])
    for workspace_id in (await control.sub_workspace(), control.workspace_id):
        text = await page(control, "edit", workspace_id)
        assert "No models yet" in text
        assert f'href="/console/w/{workspace_id}/upstreams"' in text
        assert "Save Changes" not in text


async def test_one_and_five_hundred_models(control: Control) -> None:
    """Every model has a row, the granted ones first; no more than fifty are shown before the script runs."""
    workspace_id = await control.sub_workspace()
    for count in (1, 500):
        names = [f"model-{number:03d}" for number in range(count)]
        await serve(control, names)
        last = names[-1]
        await control.put(f"/workspaces/{workspace_id}/grants/{last}", {})
        text = await page(control, "edit", workspace_id)
        assert sorted(rows(text)) == names
        assert rows(text)[0] == last or count == 500
        assert len(re.findall(r"<tr data-model=[^>]* hidden", text)) == max(0, count - 50)
    assert rows(text)[:2] == ["model-000", last]


async def test_names_of_models_and_vendors_are_escaped(control: Control) -> None:
    """Names that are markup stay text, in rows, attributes and filters alike."""
    hostile = '"><script>alert(1)</script>{{7*7}}'
    await serve(control, [hostile])
    assert (await control.put("/models/plain", {"vendor": hostile})).status_code == 201
    for workspace_id in (await control.sub_workspace(), control.workspace_id):
        text = await page(control, "edit", workspace_id)
        assert "<script>alert" not in text
        assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;{{7*7}}") >= 4


async def test_no_room_for_another_workspace(control: Control) -> None:
    """At the limit the button opens nothing, and the page says why and what to do."""
    app_services = control.app.state.services
    control.app.state.services = replace(app_services, workspaces_per_account=2)
    workspace_id = await control.sub_workspace()
    text = await page(control, "workspaces", workspace_id)
    assert "Create Workspace 2/2" in text
    assert 'aria-disabled="true" aria-describedby="workspaces-full"' in text
    assert "The account has 2 of at most 2 workspaces." in text
    assert "create-workspace" not in text
