"""What is wrong with a config, and how it is told: with its line, its place, and the name that was meant."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

SECRET = re.compile(r"api_key|password|secret|credential|token\b|cache\.url|aes_key|wecom\.robots", re.IGNORECASE)
CREDENTIALS = re.compile(r"(?<=://)[^@/]*@")
NEAR = 0.6
"""From which likeness on a name is taken for another one misspelt; stricter where strange names are allowed."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: its 1-based line, its place in the config, and what is wrong. A warning does not fail the config."""

    line: int
    path: str
    message: str
    warning: bool = False

    def __str__(self) -> str:
        kind = "warning: " if self.warning else ""
        return f"line {self.line}: {self.path + ': ' if self.path else ''}{kind}{self.message}"


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Each once, by line."""
    return sorted(set(problems), key=lambda problem: (problem.line, problem.path, problem.warning, problem.message))


def near(word: Any, valid: Iterable[str], likeness: float = NEAR) -> list[str]:
    """The valid name that ``word`` is most like, if one is near enough; upper and lower case are alike."""
    by_lower = {name.lower(): name for name in valid}
    return [by_lower[match] for match in get_close_matches(str(word).lower(), by_lower, n=1, cutoff=likeness)]


def hint(word: Any, valid: Iterable[str]) -> str:
    """What to append to a message about an unknown name: the one that was meant, or those there are if few."""
    names = sorted(valid)
    if meant := near(word, names):
        return f" (did you mean '{meant[0]}'?)"
    return f" (valid: {', '.join(names)})" if 0 < len(names) <= 12 else ""


def shown(value: Any, path: str) -> str:
    """A value as a message may show it: never a secret."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if SECRET.search(path):
        return "a value that is not shown here"
    return repr(CREDENTIALS.sub("…@", value)) if isinstance(value, str) else json.dumps(value, default=str)
