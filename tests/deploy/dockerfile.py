"""Reads a Dockerfile and a .dockerignore as far as ours go, so that a test can carry out the very lines that a builder would."""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cache
from pathlib import Path, PurePath

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Instruction:
    """One instruction: `RUN --mount=type=cache,target=/x echo` has the flag `mount` and the rest `echo`."""

    name: str
    flags: Mapping[str, str]
    rest: str

    @property
    def words(self) -> list[str]:
        """The rest as words: those of a JSON array, else as a shell splits them."""
        if self.rest.startswith("["):
            return [str(each) for each in json.loads(self.rest)]
        return shlex.split(self.rest)

    def pairs(self, env: Mapping[str, str]) -> dict[str, str]:
        """The rest as `name=value` pairs, with variables put in."""
        return dict(expanded(word, env).split("=", 1) for word in self.words)


@dataclass
class Stage:
    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def the(self, name: str) -> Instruction:
        """The one instruction of that name."""
        (found,) = (each for each in self.instructions if each.name == name)
        return found


def expanded(text: str, env: Mapping[str, str]) -> str:
    """`text` with each `$NAME` and `${NAME}` replaced; one that is not set by nothing."""
    return _VARIABLE.sub(lambda found: env.get(found[1] or found[2], ""), text)


def instructions(text: str) -> list[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [_instruction(line.strip()) for line in joined.splitlines() if line.strip()]


def _instruction(line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    flags: dict[str, str] = {}
    while found := re.match(r"\s*--([a-z-]+)=(\S+)\s*", rest):
        flags[found[1]] = found[2]
        rest = rest[found.end() :]
    return Instruction(name, flags, rest.strip())


def stages(text: str) -> list[Stage]:
    """The stages, each with the arguments before the first put into its base."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for each in instructions(text):
        if each.name == "FROM":
            base, _, name = each.rest.partition(" AS ")
            found.append(Stage(expanded(base, arguments), name or str(len(found))))
        elif found:
            found[-1].instructions.append(each)
        else:
            arguments |= each.pairs(arguments)
    return found


def ignored(path: PurePath, patterns: Sequence[str]) -> bool:
    """Whether a .dockerignore keeps a file from the builder: the last pattern that fits it or a folder of it counts."""
    is_ignored = False
    for pattern in patterns:
        if _fits(path, pattern.removeprefix("!")):
            is_ignored = not pattern.startswith("!")
    return is_ignored


def _fits(path: PurePath, pattern: str) -> bool:
    return any(_expression(pattern).fullmatch(each.as_posix()) for each in (path, *path.parents))


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = [r"(?:[^/]+/)*" if part == "**" else translate(part)[:-2].replace(".*", "[^/]*") + "/" for part in pattern.split("/")]
    return re.compile("".join(parts).removesuffix("/"))


def patterns(file: Path) -> list[str]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]
