"""A file stripped to its pixels, and the one thing of its metadata that counts: which way is up."""

from dataclasses import dataclass

DAMAGED = "the picture ends early or is damaged: send the whole file again"


@dataclass(frozen=True, slots=True)
class Plain:
    """``data`` shows the same pixels as the file did; ``turn`` is the EXIF orientation, 1 to 8.

    Of a JPEG, ``scans`` are where in ``data`` the data of each scan end, and ``closed`` says whether they tell all of
    the picture; behind the last there is a little padding and no end marker, whether the file had one or not.
    """

    data: bytes
    turn: int = 1
    scans: tuple[int, ...] = ()
    closed: bool = True
