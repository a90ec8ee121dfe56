"""The audit trail in words."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.control.console import audit_words
from gateway.control.console.audit_words import Changed, brief, changes

GATEWAY = Path(audit_words.__file__).parents[3] / "gateway"


def actions() -> Iterator[str]:
    """Every text of the code that looks like an action: the name of a group, a dot, and a word."""
    for path in (*(GATEWAY / "control" / "services").rglob("*.py"), *(GATEWAY / "storage" / "sql").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                group, dot, verb = node.value.partition(".")
                if dot and group in audit_words.GROUPS and verb.replace("_", "").isalpha():
                    yield node.value


def test_every_action_has_words() -> None:
    """Whatever the gateway writes into the audit trail is said in words, and none of the words is for nothing."""
    found = set(actions())
    assert len(found) > 20
    assert [action for action in sorted(found) if not audit_words.is_known(action)] == []
    assert sorted(audit_words._ACTIONS.keys() - found) == []
    assert audit_words.words("unheard.of") == "unheard.of"


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        (None, None, []),
        ({"rpm": 60, "tpm": 1000}, {"rpm": 1200, "tpm": 1000}, [("Times / min", "60", "1,200")]),
        ({"tpm": None}, {"tpm": 0}, [("Token / min", "no limit", "0")]),
        (None, {"workspace_id": "llm-1", "models": None}, [("Workspace", None, "llm-1"), ("Models", None, "all")]),
        ({"description": ""}, {"description": "a"}, [("Description", "none", "a")]),
        ({"enabled": True, "weight": 1}, {"enabled": False, "weight": 1}, [("Enabled", "yes", "no")]),
        ({"models": {"a": "a", "b": "c"}}, {"models": {}}, [("Models", "a, b=c", "none")]),
        ({"models": ["a", "b"]}, None, [("Models", "a, b", None)]),
        ({"deep": {"b": [1]}}, {"deep": {"a": 1, "b": [1]}}, [("Deep", '{"b": [1]}', '{"a": 1, "b": [1]}')]),
        (
            {"status": "active"},
            {"email": "a@b", "status": "disabled"},
            [("Status", "active", "disabled"), ("E-mail", None, "a@b")],
        ),
    ],
)
def test_only_what_changed_is_shown(before: dict[str, Any] | None, after: dict[str, Any] | None, found: Any) -> None:
    """Of what was before and after, the fields that differ are shown, each as people read it."""
    assert changes(before, after) == [Changed(*each) for each in found]


def test_a_change_in_one_line() -> None:
    """One line says what changed first, and is bounded."""
    assert brief([]) == ""
    assert brief(changes({"rpm": 1}, {"rpm": 2})) == "Times / min: 1 → 2"
    made = changes(None, {"workspace_id": "llm-1", "masked": "sk-", "description": "Nightly", "a": 1, "b": 2})
    assert brief(made) == "Description: Nightly; A: 1; …"
    assert len(brief(changes(None, {"name": "x" * 500}))) == 91
