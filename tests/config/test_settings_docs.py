"""docs/settings.md is true and whole."""

import re
import tomllib
from pathlib import Path

import pytest

from gateway.config import OTHER_NAMES, Known, known_settings, load

TEXT = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")


def row(setting: Known) -> str:
    cells = [
        f"`{setting.key}`",
        f"`{setting.env}`" if setting.env else "",
        setting.default,
        setting.unit,
        setting.expects,
        setting.description,
    ]
    return "| " + " | ".join(cells) + " |"


@pytest.mark.parametrize("setting", known_settings(), ids=lambda setting: setting.key)
def test_each_setting_is_documented(setting: Known) -> None:
    """Each setting stands in the documentation with its key, environment name, default, unit, values and meaning."""
    assert row(setting).replace("  ", " ") in TEXT.splitlines()


def test_nothing_else_is_documented() -> None:
    """No key and no environment name is documented that does not exist."""
    known = known_settings()
    assert set(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \|", TEXT, re.MULTILINE)) == {setting.key for setting in known}
    assert set(re.findall(r"GATEWAY_[A-Z_]*[A-Z]", TEXT)) == {setting.env for setting in known if setting.env} | set(OTHER_NAMES)


def test_variables_without_a_key_are_documented() -> None:
    """The variables that no file can hold are explained too."""
    for name, meaning in OTHER_NAMES.items():
        assert f"| `{name}` | {meaning} |" in TEXT


def test_the_example_works(tmp_path: Path) -> None:
    """The example of a file can be used as it is."""
    example = TEXT.split("```toml\n")[1].split("```")[0]
    file = tmp_path / "gateway.toml"
    file.write_text(example)
    settings = load({"HOSTED_API_KEY": "x"}, file)
    assert [upstream.name for upstream in settings.upstreams] == [each["name"] for each in tomllib.loads(example)["upstreams"]]
