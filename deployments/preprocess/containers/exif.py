"""The orientation in an EXIF block, which is a small TIFF file: a header, and a first directory of 12-byte entries."""

import struct

ORIENTATION = 0x0112
SHORT = 3
MOST_ENTRIES = 1024
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(block: bytes) -> int:
    """How the picture is to be turned, 1 to 8; 1 if the block does not say so, or is corrupt or absurd."""
    order = _ORDERS.get(bytes(block[:4]))
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for number in range(min(entries, MOST_ENTRIES)):
            tag, kind, count, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * number)
            if tag == ORIENTATION:
                return value if (kind, count) == (SHORT, 1) and 1 <= value <= 8 else 1
    except struct.error:  # it ends before it should
        pass
    return 1
