"""Whether compressed data went through a transfer that took them for text and changed their line ends."""

WENT_AS_TEXT = (
    "the picture is damaged, as by a transfer that took it for text and changed its line ends: send the file again"
)

ENOUGH = 16
VARIETY = 8
LONG = 16 * 1024


def went_as_text(data: bytes) -> bool:
    """True if line ends in ``data``, which are as good as random, are all of one kind as in a text.

    Repetitive data (those of a blank page) may look like that, so what surrounds the line ends must vary.
    """
    returns, feeds, both = data.count(b"\r"), data.count(b"\n"), data.count(b"\r\n")
    if feeds >= ENOUGH and both == feeds:
        return len({piece[:1] for piece in data.split(b"\r\n", 1000)}) >= VARIETY
    return len(data) >= LONG and 0 in (returns, feeds) and len(set(data)) >= 254
