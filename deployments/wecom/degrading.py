"""Markdown where a surface shows none, or no tables: the same words, readable as plain text."""

import re

from deployments.wecom.splitting import FENCE, RULE

TAGS = re.compile(r"<(/?)a(\s[^>]*)?>", re.IGNORECASE)
"""``<a href>`` in a text message is a live link: a model's answer must not make one."""
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
HEADING = re.compile(r"^\s{0,3}#{1,6}\s+", re.MULTILINE)
STRONG = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")


def without_tables(text: str) -> str:
    """Rows of a table as lines of ``head：cell``; the rest as it is."""
    lines, found, head, in_code = text.split("\n"), list[str](), list[str](), False
    for number, line in enumerate(lines):
        in_code ^= bool(FENCE.match(line))
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if in_code or "|" not in line:
            head = []
            found.append(line)
        elif RULE.match(following) and "|" in following:
            head = _cells(line)
        elif not (head and RULE.match(line)):
            found.append(_row(head, line) if head else line)
    return "\n".join(found)


def plain(text: str) -> str:
    """The text without markdown's signs, and without tags that would be live."""
    text = STRONG.sub(r"\2", HEADING.sub("", without_tables(text)))
    text = LINK.sub(lambda found: f"{found[1]} {found[2]}".strip(), text)
    return without_links("\n".join(line for line in text.split("\n") if not FENCE.match(line)))


def without_links(text: str) -> str:
    return TAGS.sub(r"＜\1a\2＞", text)


def _row(head: list[str], line: str) -> str:
    cells = _cells(line)
    named = [f"{name}：{cell}" if name else cell for name, cell in zip(head, cells, strict=False)]
    return "；".join([*named, *cells[len(head) :]])


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
