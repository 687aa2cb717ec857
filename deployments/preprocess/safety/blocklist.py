"""Single pictures that are not wanted: exact files by SHA-256, and look-alikes by a perceptual hash.

The hash is dHash (64 bits: whether brightness falls from each of 9 x 8 cells to the next). It survives another size,
another format and light edits. It tells nothing about words: two screenshots that differ in one digit have the same.
So it may refuse a picture, which a person has put on the list, and never chooses an answer.
"""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from deployments.contract import Pixels
from deployments.preprocess.picture import prepare
from deployments.preprocess.safety.check import Subject
from deployments.preprocess.settings import PreprocessKnobs

LABEL = "blocked_picture"
NEAR_BITS = 4
"""Bits by which look-alikes may differ."""
FEWEST_EDGES = 6
"""Bits that must be set and unset: nearly plain pictures all look alike to the hash."""


class Blocklist:
    """A set of digests, one a line: ``sha256:HEX`` of a file or ``dhash:HEX`` of a picture; ``#`` starts a comment."""

    name = "blocklist"

    def __init__(self, files: frozenset[str], hashes: tuple[int, ...]) -> None:
        self._files, self._hashes = files, np.array(hashes, np.uint64)

    @classmethod
    def load(cls, path: str) -> "Blocklist":
        """Raises ValueError that names the line at fault."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise ValueError(f"the blocklist {path} cannot be read: {fault}") from fault
        return cls.parse(text, path)

    @classmethod
    def parse(cls, text: str, path: str) -> "Blocklist":
        """The list in ``text``, the content of ``path``. Raises ValueError that names the line at fault."""
        files, hashes = set(), []
        for number, line in enumerate(text.splitlines(), start=1):
            kind, _, value = line.partition("#")[0].strip().lower().partition(":")
            if kind == "sha256" and _is_hex(value, 64):
                files.add(value)
            elif kind == "dhash" and _is_hex(value, 16):
                hashes.append(int(value, 16))
            elif kind:
                raise ValueError(f"{path}, line {number}: must be sha256:<64 hex digits> or dhash:<16 hex digits>")
        return cls(frozenset(files), tuple(hashes))

    def scores(self, subject: Subject) -> Mapping[str, float]:
        if subject.file_sha256 in self._files:
            return {LABEL: 1.0}
        if not len(self._hashes):
            return {}
        seen = dhash(subject.pixels)
        if not FEWEST_EDGES <= seen.bit_count() <= 64 - FEWEST_EDGES:
            return {}
        bits = int(np.bitwise_count(self._hashes ^ np.uint64(seen)).min())
        return {LABEL: 1 - bits / 64} if bits <= NEAR_BITS else {}


def dhash(pixels: Pixels) -> int:
    """The 64-bit difference hash of an RGB picture."""
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((9, 8), Image.Resampling.LANCZOS), np.int16)
    bits = (grey[:, :-1] > grey[:, 1:]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def lines_of(data: bytes) -> tuple[str, str]:
    """The lines that put a picture on the list, by its file and by its looks. Raises ImageError if it is none."""
    overview = prepare(data, PreprocessKnobs(max_tiles=0)).pixels[0]
    return f"sha256:{sha256(data).hexdigest()}", f"dhash:{dhash(overview):016x}"


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and all(character in "0123456789abcdef" for character in text)
