"""Rules of the code base that no linter here knows. import-linter holds the floors; these hold the rest.

Each rule is a function from a source file to what is wrong with it, and each is also tried on files that break it, so that a
rule which has stopped noticing anything is noticed.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 400
MOST_FUNCTION_LINES = 60
REASON_WORDS = 3

SQL = re.compile(
    r"\bSELECT\b.+\bFROM\b|\bINSERT\s+(OR\s+\w+\s+)?INTO\b|\bUPDATE\s+\w+\s+SET\b|\bDELETE\s+FROM\b"
    r"|\b(CREATE|ALTER|DROP)\s+(TABLE|INDEX)\b|\bPRAGMA\s+\w+",
    re.DOTALL,
)
# Folders of somebody's own machine, as absolute paths; `…/docs/home/…` is none.
OWN_FOLDERS = re.compile(r"(?<![\w.\-*}~…/])/(?:home|root|work|Users)/")


@dataclass(frozen=True)
class Source:
    """A Python file: its path from the root of the repository, and its text."""

    path: PurePosixPath
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @cached_property
    def comments(self) -> dict[int, str]:
        """The comment on each line that has one, without `#` and linters' directives."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        found = {token.start[0]: token.string.strip("# ") for token in tokens if token.type == tokenize.COMMENT}
        return {line: re.sub(r"^(noqa|type)\b[^—-]*(—|-|$)", "", comment) for line, comment in found.items()}

    def within(self, *places: str) -> bool:
        """Whether the file is one of `places` or lies in one of them; `*` stands for any part of a name."""
        return any(fnmatch(str(folder), place) for folder in (self.path, *self.path.parents) for place in places)

    def imports(self) -> Iterator[tuple[int, str]]:
        """The line and full name of every module that is imported; a relative one keeps its dots."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.lineno, "." * node.level + (node.module or "")

    def docstrings(self) -> set[int]:
        """The identities of the string nodes that are docstrings, or stand alone as an attribute's description."""
        return {id(node.value) for node in self.nodes if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)}


Rule = Callable[[Source], list[str]]


def short_modules(source: Source) -> list[str]:
    lines = len(source.text.splitlines())
    return [f"{lines} lines are over {MOST_LINES}"] if lines > MOST_LINES else []


def short_functions(source: Source) -> list[str]:
    return [
        f"{node.lineno}: {node.name} is over {MOST_FUNCTION_LINES} lines"
        for node in source.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno + 1 > MOST_FUNCTION_LINES
    ]


def pure_domain(source: Source) -> list[str]:
    if not source.within("gateway/domain"):
        return []
    outside = [
        f"{line}: imports {name}"
        for line, name in source.imports()
        if name.split(".")[0] not in sys.stdlib_module_names | {"msgspec"} and not f"{name}.".startswith("gateway.domain.")
    ]
    waits = [f"{node.lineno}: is async" for node in source.nodes if isinstance(node, ast.AsyncFunctionDef)]
    clocks = [f"{line}: reads a clock" for line, name in source.imports() if name in {"time", "datetime", "asyncio"}]
    return outside + waits + clocks


def environment_at_the_top(source: Source) -> list[str]:
    if source.within("gateway/config*.py", "gateway/config", "gateway/commands", "gateway/cli.py"):
        return []
    return [
        f"{node.lineno}: reads the environment"
        for node in source.nodes
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv", "os.environb"})
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and {"environ", "getenv"} & {a.name for a in node.names})
    ]


def reasons_for_catching_all(source: Source) -> list[str]:
    """A handler of everything says why, on its line or the one above; one that ends in a bare `raise` swallows nothing."""
    wrong = []
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "everything"
            if re.search(r"\b(Exception|BaseException|everything)\b", caught) is None or _reraises(node, caught):
                continue
        elif not (isinstance(node, ast.Call) and re.match(r"(contextlib\.)?suppress\(.*\b(Base)?Exception\b", ast.unparse(node))):
            continue
        comments = (source.comments.get(node.lineno - above, "") for above in (0, 1))
        if not any(len(comment.split()) >= REASON_WORDS for comment in comments):
            wrong.append(f"{node.lineno}: catches everything without a reason")
    return wrong


def _reraises(handler: ast.ExceptHandler, caught: str) -> bool:
    last = handler.body[-1]
    return caught == "BaseException" and isinstance(last, ast.Raise) and last.exc is None


def no_prints(source: Source) -> list[str]:
    if source.within("gateway/cli.py", "gateway/commands", "gateway/demo"):
        return []
    return [
        f"{node.lineno}: prints"
        for node in source.nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def sql_in_storage(source: Source) -> list[str]:
    if source.within("gateway/storage"):
        return []
    drivers = {"sqlalchemy", "aiosqlite", "asyncpg", "sqlite3", "psycopg"}
    imported = [f"{line}: imports {name}" for line, name in source.imports() if name.split(".")[0] in drivers]
    docstrings = source.docstrings()
    written = [
        f"{node.lineno}: SQL"
        for node in source.nodes
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and SQL.search(node.value)
    ]
    return imported + written


def docstrings_in_tests(source: Source) -> list[str]:
    return [
        f"{node.lineno}: {node.name} has no docstring"
        for node in source.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
        and source.within("test_*.py", "*/test_*.py")
    ]


def no_own_folders(source: Source) -> list[str]:
    return [f"{number}: {line.strip()}" for number, line in enumerate(source.text.splitlines(), 1) if OWN_FOLDERS.search(line)]


def read(folder: str) -> list[Source]:
    files = sorted((ROOT / folder).rglob("*.py"))
    return [Source(PurePosixPath(file.relative_to(ROOT).as_posix()), file.read_text(encoding="utf-8")) for file in files]


def broken(rule: Rule, sources: list[Source]) -> list[str]:
    return [f"{source.path}:{wrong}" for source in sources for wrong in rule(source)]


@pytest.fixture(scope="module")
def gateway() -> list[Source]:
    return read("gateway")


GATEWAY_RULES = [
    short_modules,
    short_functions,
    pure_domain,
    environment_at_the_top,
    reasons_for_catching_all,
    no_prints,
    sql_in_storage,
]


@pytest.mark.parametrize("rule", GATEWAY_RULES, ids=lambda rule: rule.__name__)
def test_the_code_keeps_to(rule: Rule, gateway: list[Source]) -> None:
    """Every module of the gateway keeps to the rules that make the code readable from one end to the other."""
    assert len(gateway) > 10
    assert broken(rule, gateway) == []


def test_every_test_says_what_it_guarantees() -> None:
    """Whoever breaks a test reads in its docstring which promise is broken."""
    assert broken(docstrings_in_tests, read("tests")) == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    """No file of the repository holds a path of somebody's own machine, which exists nowhere else."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    names = [name for name in listed.stdout.decode().split("\0") if name and name != f"tests/{Path(__file__).name}"]
    files = [file for name in names if (file := ROOT / name).is_file()]
    sources = [Source(PurePosixPath(file.relative_to(ROOT)), file.read_text("utf-8", errors="replace")) for file in files]
    assert len(sources) > 10
    assert broken(no_own_folders, sources) == []


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (short_modules, "gateway/a.py", "x = 1\n" * 401),
        (short_functions, "gateway/a.py", "async def f():\n" + "    x = 1\n" * 60),
        (pure_domain, "gateway/domain/a.py", "import httpx2"),
        (pure_domain, "gateway/domain/a.py", "from gateway.ops import metrics"),
        (pure_domain, "gateway/domain/a.py", "from .. import ops"),
        (pure_domain, "gateway/domain/a.py", "def f():\n    import time"),
        (pure_domain, "gateway/domain/a.py", "async def f(): ..."),
        (environment_at_the_top, "gateway/app.py", "import os\nx = os.environ['X']"),
        (environment_at_the_top, "gateway/ops/a.py", "import os\nx = os.getenv('X')"),
        (environment_at_the_top, "gateway/ops/a.py", "from os import environ"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept Exception: pass"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept: pass"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept (OSError, Exception): pass"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept BaseException: pass"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept Exception:  # noqa: BLE001\n    pass"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept Exception:  # noqa: BLE001, S110\n    pass"),
        (reasons_for_catching_all, "gateway/a.py", "with contextlib.suppress(Exception): f()"),
        (no_prints, "gateway/ops/a.py", "print('x')"),
        (sql_in_storage, "gateway/control/a.py", "from sqlalchemy import text"),
        (sql_in_storage, "gateway/control/a.py", "def f():\n    import sqlite3"),
        (sql_in_storage, "gateway/commands/a.py", "f('SELECT id FROM accounts')"),
        (sql_in_storage, "gateway/app.py", "f('UPDATE accounts SET epoch = 1')"),
        (sql_in_storage, "gateway/app.py", "f(f'DELETE FROM {table}')"),
        (sql_in_storage, "gateway/app.py", "f('PRAGMA journal_mode = wal')"),
        (docstrings_in_tests, "tests/ops/test_a.py", "class TestA:\n    async def test_b(self): ..."),
        (docstrings_in_tests, "tests/test_a.py", "def test_b(): ..."),
        (no_own_folders, "Makefile", "run:\n\t/home/me/bin/run"),
        (no_own_folders, "docs/a.md", "Look in `/root/notes`."),
        (no_own_folders, "a.toml", 'path = "/work/x"'),
    ],
)
def test_a_rule_notices(rule: Rule, path: str, text: str) -> None:
    """A file that breaks a rule is reported, so that the rules above cannot pass by seeing nothing."""
    assert len(rule(Source(PurePosixPath(path), text))) == 1


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (short_modules, "gateway/a.py", "x = 1\n" * 400),
        (short_functions, "gateway/a.py", "def f():\n" + "    x = 1\n" * 59),
        (
            pure_domain,
            "gateway/domain/a.py",
            "import hmac\nfrom gateway.domain.buckets import Claim\nfrom gateway.domain import ids",
        ),
        (environment_at_the_top, "gateway/config_file.py", "import os\nx = os.environ['X']"),
        (environment_at_the_top, "gateway/commands/serve.py", "import os\nx = os.environ['X']"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept Exception:  # the log must not stop us\n    pass"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\n# the log must not stop us\nexcept Exception: pass"),
        (
            reasons_for_catching_all,
            "gateway/a.py",
            "try: f()\nexcept Exception:  # noqa: BLE001 — the next tick must come\n    pass",
        ),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept BaseException:\n    g()\n    raise"),
        (reasons_for_catching_all, "gateway/a.py", "try: f()\nexcept OSError: pass"),
        (no_prints, "gateway/cli.py", "print('x')"),
        (sql_in_storage, "gateway/storage/sql/a.py", "f('SELECT id FROM accounts')"),
        (sql_in_storage, "gateway/a.py", '"""UPDATE accounts SET epoch."""\nx = "sqlite+aiosqlite:///x; update from a select"'),
        (docstrings_in_tests, "tests/test_a.py", 'def test_b():\n    """It holds."""\ndef helper(): ...'),
        (no_own_folders, "docs/a.md", "GET /compatible-mode/v1/home/x, https://example.org/work/, $HOME/work/x, ~/root/"),
    ],
)
def test_a_rule_lets_the_rest_pass(rule: Rule, path: str, text: str) -> None:
    """A file that keeps to a rule is not reported, so that nobody bends good code around a bad rule."""
    assert rule(Source(PurePosixPath(path), text)) == []
