"""Long answers in parts that a surface takes: measured in UTF-8 bytes, cut where a reader would pause.

No part cuts a character (nor a cluster of joined ones), a code block goes on as one in the next part, and a table's
head stands above each of its parts.
"""

import re
import unicodedata
from collections.abc import Iterator

FENCE = re.compile(r"^\s*(```+|~~~+)(.*)$")
RULE = re.compile(r"^\s*\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?\s*$")
PAUSES = ("。", "！", "？", "；", ". ", "! ", "? ", "，", "、", ", ", " ")


def size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))


def split(text: str, most_bytes: int) -> list[str]:
    """The parts, in order; one where it fits. A part has text, whatever its size."""
    if size(text) <= most_bytes:
        return [text]
    parts, lines, fence, head = [], list[str](), "", list[str]()
    for line in _lines(text, most_bytes - _reserve(text, most_bytes)):
        closing = _closing(fence)
        if lines and size("\n".join([*lines, line, *closing])) > most_bytes:
            parts.append("\n".join([*lines, *closing]))
            lines = [fence] if fence else _repeated(head, line, most_bytes)
        fence, head = _fence_after(fence, line), _head_after(head, lines, line, bool(fence))
        lines.append(line)
    parts.append("\n".join([*lines, *_closing(fence)]))
    return [part for part in parts if part.strip()] or [text[:1]]


def fits(text: str, most_bytes: int) -> str:
    """As much of the text as fits, cut between characters."""
    if size(text) <= most_bytes:
        return text
    return next(_pieces(text, most_bytes), "")


def _reserve(text: str, most_bytes: int) -> int:
    """Room for a fence to be closed and opened again; none where there is no fence."""
    return min(40, most_bytes // 4) if "```" in text or "~~~" in text else 0


def _lines(text: str, most_bytes: int) -> Iterator[str]:
    for line in text.split("\n"):
        yield from _pieces(line, most_bytes) if size(line) > most_bytes else (line,)


def _pieces(line: str, most_bytes: int) -> Iterator[str]:
    """A long line in pieces, after a pause in their last half if there is one."""
    clusters, piece, used = list(_clusters(line)), "", 0
    for cluster in clusters:
        needed = size(cluster)
        if piece and used + needed > most_bytes:
            kept, rest = _at_pause(piece)
            yield kept
            piece, used = rest, size(rest)
        piece, used = piece + cluster, used + needed
    if piece:
        yield piece


def _at_pause(piece: str) -> tuple[str, str]:
    for pause in PAUSES:
        at = piece.rfind(pause)
        if at >= len(piece) // 2:
            return piece[: at + len(pause)].rstrip(" "), piece[at + len(pause) :]
    return piece, ""


def _clusters(text: str) -> Iterator[str]:
    """Characters with what belongs to them: accents, selectors, joined emoji; bounded, or one could be everything."""
    cluster = ""
    for character in text:
        joins = unicodedata.combining(character) or character in "\u200d\ufe0e\ufe0f\u20e3"
        joins = joins or "\U0001f3fb" <= character <= "\U0001f3ff" or cluster.endswith("\u200d")
        if cluster and not (joins and len(cluster) < 16):
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster


def _fence_after(fence: str, line: str) -> str:
    """The line that opened the code block that is open after this one."""
    found = FENCE.match(line)
    if not found:
        return fence
    if not fence:
        return line
    return "" if line.strip().startswith(fence.strip()[:3]) else fence


def _closing(fence: str) -> list[str]:
    return [fence.strip()[:3]] if fence else []


def _head_after(head: list[str], lines: list[str], line: str, in_code: bool) -> list[str]:
    """A table's first two lines while its rows go on."""
    if in_code or "|" not in line:
        return []
    if RULE.match(line) and lines and "|" in lines[-1]:
        return [lines[-1], line]
    return head


def _repeated(head: list[str], line: str, most_bytes: int) -> list[str]:
    return list(head) if head and "|" in line and size("\n".join([*head, line])) <= most_bytes else []
