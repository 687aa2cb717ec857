"""Personal numbers in answers: identity and bank card numbers become stars, but for their last four characters."""

import re
from collections.abc import Iterator
from datetime import date

SHOWN = 4
"""Characters at a number's end that stay, by which its owner still knows it."""
MIN_NUMBER, MAX_NUMBER = 16, 19
"""Characters of the shortest and the longest number, both of them bank cards'."""
MAX_SPAN = 2 * MAX_NUMBER - 1
"""Its longest spelling: a separator between every two."""

_SEPARATORS = " -\u00a0\u3000\uff0d\u2010\u2011\u2013"
_PLAIN = str.maketrans(
    {full: str(digit) for digit, full in enumerate("０１２３４５６７８９")}
    | dict.fromkeys("xＸｘ", "X")
    | dict.fromkeys(_SEPARATORS, "-")
)
"""Character for character, so that places in the plain spelling are places in the text."""
_CHAIN = re.compile(r"[0-9]+(?:-[0-9]+)*(?:-?X(?![0-9A-Za-z]))?")
_GROUP = re.compile(r"[0-9]+|X")
_OPEN_END = re.compile(r"[0-9][0-9X-]*\Z")

# Of GB/T 2260: the provinces, Taiwan, Hong Kong, Macau, residence permits of people from there, and those born abroad.
_PROVINCE = re.compile(r"1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]|91")
_CARD = re.compile(r"(?:[3-6][0-9]{3}|9558)[0-9]{12,15}")  # 9558: ICBC's cards from before UnionPay's 62


def mask_personal_numbers(text: str) -> str:
    """The text with every character of a personal number but its last four replaced by ``*``, else unchanged.

    A number is one group of digits or several with one separator (a space, a hyphen) between them, which stays.
    A group is taken whole or not at all: a longer run of digits that merely contains such a number is something else.
    """
    masked = list(text)
    plain = text.translate(_PLAIN)
    for chain in _CHAIN.finditer(plain):
        places = [place for place in range(*chain.span()) if plain[place] != "-"]
        for start, end in _numbers(_GROUP.findall(chain[0])):
            for place in places[start : end - SHOWN]:
                masked[place] = "*"
    return "".join(masked)


class MaskedStream:
    """``mask_personal_numbers`` of a text that comes in pieces; what was told is never taken back."""

    def __init__(self) -> None:
        self._held = ""
        self._told = 0

    def push(self, text: str) -> str:
        """What can be told now: all but an end that may still turn out to be part of such a number."""
        self._held += text
        return self._tell(len(self._held) - _open_chars(self._held))

    def finish(self) -> str:
        """The rest. The stream can then begin anew."""
        rest = self._tell(len(self._held))
        self._held, self._told = "", 0
        return rest

    def _tell(self, until: int) -> str:
        """The masked text up to a place; forgets what no number that reaches past it can begin in.

        Twice a number's span stays, so that a group that is cut there remains too long, or too far away, to matter.
        """
        told = mask_personal_numbers(self._held)[self._told : until]
        forgotten = max(0, until - 2 * MAX_SPAN)
        self._held, self._told = self._held[forgotten:], until - forgotten
        return told


def _open_chars(text: str) -> int:
    """How many characters at the end may be part of a number that has not ended yet."""
    end = text[-MAX_SPAN:].translate(_PLAIN)
    found = _OPEN_END.search(end)
    return len(end) - found.start() if found else 0


def _numbers(groups: list[str]) -> Iterator[tuple[int, int]]:
    """Where, in the characters of all groups, each personal number begins and ends: whole neighbouring groups."""
    characters = "".join(groups)
    start = 0
    for first, group in enumerate(groups):
        end = start
        for last in range(first, len(groups)):
            end += len(groups[last])
            if end - start > MAX_NUMBER:
                break
            if end - start < MIN_NUMBER:
                continue
            number = characters[start:end]
            if _is_identity(number) or _is_card(number, groups[first : last + 1]):
                yield start, end
        start += len(group)


def _is_identity(number: str) -> bool:
    """A Chinese resident identity number: GB 11643, with the check character of ISO 7064 MOD 11-2."""
    if len(number) != 18 or "X" in number[:-1] or not _PROVINCE.match(number) or not _is_birthday(number[6:14]):
        return False
    check = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(number[:17])) % 11
    return number[17] == "10X98765432"[check]


def _is_birthday(digits: str) -> bool:
    try:
        return 1900 <= date(int(digits[:4]), int(digits[4:6]), int(digits[6:])).year < 2100
    except ValueError:
        return False


def _is_card(number: str, groups: list[str]) -> bool:
    """A bank card number (ISO/IEC 7812, Luhn), in groups of four or more but for the last, as cards print it.

    Lists of short numbers, dates and telephone numbers would pass Luhn's check one time in ten.
    """
    if any(len(group) < 4 for group in groups[:-1]) or not _CARD.fullmatch(number):
        return False
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(number)))
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0
