"""Files that a command is given, read within bounds: they may be folders, devices, or of any size and encoding."""

import os
from pathlib import Path


class FileFault(OSError):
    """It can be opened, and yet is not what a command can use; ``strerror`` says why."""


def read_file(path: Path, most_bytes: int) -> bytes:
    """Raises OSError whose ``strerror`` is for people."""
    if "\0" in str(path):
        raise FileFault(22, "a path holds no zero byte")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most_bytes + 1) if size <= most_bytes else b""
    if size > most_bytes or len(content) > most_bytes:
        raise FileFault(27, f"it is larger than {most_bytes >> 20} MB")
    return content


def read_text(path: Path, most_bytes: int) -> str:
    """A file of UTF-8. Raises OSError whose ``strerror`` is for people."""
    try:
        return read_file(path, most_bytes).decode("utf-8")
    except UnicodeDecodeError as fault:
        raise FileFault(84, f"it is not UTF-8 (byte {fault.start + 1})") from fault
