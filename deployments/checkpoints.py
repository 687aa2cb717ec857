"""A checkpoint's files, looked at without torch and without reading weights: there, whole, and what their names say.

A download that broke off, a clone without Git LFS and a copy of links are told from each other, so that the error says
what to do.
"""

import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
OLD_WEIGHTS, OLD_WEIGHTS_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
"""What transformers looks for, in this order."""

POINTERS = (b"version https://git-lfs.github.com/spec/", b"# xet version ")
LONGEST_HEADER = 100_000_000
"""Bytes; safetensors itself refuses a longer one."""
AGAIN = "download it again"


class CheckpointError(ValueError):
    """The checkpoint cannot be served as the settings ask; the message says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as a safetensors header describes it; ``end`` is its last byte's place behind the header, plus one."""

    dtype: str
    shape: tuple[int, ...]
    end: int


def is_there(path: Path) -> bool:
    """Links to nothing included: they are reported, not passed over."""
    return os.path.lexists(path)


def check_folder(folder: Path) -> None:
    """Raises CheckpointError unless it is a folder that can be listed."""
    try:
        if not folder.is_dir():
            what = "is a file and no folder" if folder.exists() else "does not exist"
            raise CheckpointError(f"checkpoint folder {folder} {what}: {_name_a_folder()}")
    except OSError as fault:
        raise CheckpointError(
            f"cannot read checkpoint folder {folder} ({_reason(fault)}): let this user read it"
        ) from fault
    if not os.access(folder, os.R_OK | os.X_OK):
        raise CheckpointError(f"cannot read checkpoint folder {folder}: let this user list and read it")


def beginning(path: Path, most: int = 256) -> bytes:
    """The first bytes of a file. Raises CheckpointError when it is missing, unreadable, empty or only a pointer."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CheckpointError(f"{path} is no file: put the checkpoint's own {path.name} in its place")
        with path.open("rb") as file:
            start = file.read(max(most, 64))
    except FileNotFoundError as fault:
        hint = f"copy the checkpoint with the files that its links name, or {AGAIN}" if path.is_symlink() else AGAIN
        what = "is a link to a file that is not there" if path.is_symlink() else "is missing"
        raise CheckpointError(f"{path} {what}: {hint}") from fault
    except OSError as fault:
        raise CheckpointError(f"cannot read {path} ({_reason(fault)}): let this user read it, or {AGAIN}") from fault
    if not start.strip():
        raise CheckpointError(f"{path} is empty: {AGAIN}")
    if start.startswith(POINTERS):
        raise CheckpointError(
            f"{path} is a Git LFS pointer and not the file itself: run `git lfs pull` in its folder, or {AGAIN}"
        )
    return start[:most]


def read_text(path: Path) -> str:
    """Raises CheckpointError when it is missing, unreadable, empty, only a pointer, or no UTF-8."""
    beginning(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise CheckpointError(f"cannot read {path} as UTF-8 ({fault}): {AGAIN}") from fault


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError for anything else, with the place where it breaks off."""
    try:
        found = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as fault:
        raise CheckpointError(f"{path} is no JSON ({fault}): {AGAIN}, or undo what was changed in it") from fault
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no JSON object but a {type(found).__name__}: {AGAIN}")
    return found


def read_weights(folder: Path) -> dict[str, StoredTensor]:
    """The tensors in a folder's weight files, by name, from the headers alone; none for files of torch's old format.

    Raises CheckpointError when one is missing, cut off, of another format, or not what the index says.
    """
    for name, index in ((WEIGHTS, WEIGHTS_INDEX), (OLD_WEIGHTS, OLD_WEIGHTS_INDEX)):
        if is_there(folder / name):
            return _tensors_of(folder / name)
        if is_there(folder / index):
            return _read_shards(folder / index)
    raise CheckpointError(
        f"{folder} holds no weights, neither {WEIGHTS} nor {WEIGHTS_INDEX}: download the checkpoint again"
    )


def read_header(path: Path) -> dict[str, StoredTensor]:
    """What a safetensors file says it holds. Raises CheckpointError when the file is not as long as it says."""
    start, size = beginning(path), path.stat().st_size
    length = int.from_bytes(start[:8], "little")
    if start[8:9] not in (b"{", b"") or length > LONGEST_HEADER:
        raise CheckpointError(f"{path} is no safetensors file (it begins with {start[:16]!r}): {AGAIN}")
    if size < 8 + length:
        raise CheckpointError(f"{path} is cut off: it has {size:,} bytes and a header of {length:,}: {AGAIN}")
    tensors = _parsed(path, length)
    whole = 8 + length + max((tensor.end for tensor in tensors.values()), default=0)
    if size != whole:
        what = "is cut off" if size < whole else "is longer than it says"
        raise CheckpointError(f"{path} {what}: it has {size:,} bytes, and its header tells of {whole:,}: {AGAIN}")
    return tensors


def _parsed(path: Path, length: int) -> dict[str, StoredTensor]:
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(length))
        return {
            name: StoredTensor(str(told["dtype"]), tuple(told["shape"]), int(told["data_offsets"][1]))
            for name, told in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as fault:
        raise CheckpointError(f"{path} has a broken safetensors header ({fault}): {AGAIN}") from fault


def _tensors_of(path: Path) -> dict[str, StoredTensor]:
    if path.suffix == ".safetensors":
        return read_header(path)
    beginning(path)
    return {}


def _read_shards(index: Path) -> dict[str, StoredTensor]:
    """What the files hold that an index names."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, Mapping) or not places or not all(isinstance(name, str) for name in places.values()):
        raise CheckpointError(f"{index} names no weight files: its weight_map must say where each weight is; {AGAIN}")
    held = {name: _shard(index, name) for name in sorted(set(places.values()))}
    for weight, name in places.items():
        if held[name] and weight not in held[name]:
            raise CheckpointError(
                f"{index} says that {weight} is in {name}, which does not hold it: the files are of two checkpoints, "
                "download all of them again"
            )
    return {weight: tensor for tensors in held.values() for weight, tensor in tensors.items()}


def _shard(index: Path, name: str) -> dict[str, StoredTensor]:
    path = index.parent / name
    if Path(name).name != name:
        raise CheckpointError(f"{index} names {name!r}, which is no file beside it: {AGAIN}")
    if not is_there(path):
        raise CheckpointError(f"{path} is missing, and {index.name} names it: download this part of the weights too")
    return _tensors_of(path)


def _reason(fault: OSError) -> str:
    return fault.strerror or str(fault)


def _name_a_folder() -> str:
    return (
        "set args.model.checkpoint to a downloaded checkpoint's folder, readable on every node, or to a repository on "
        "the Hugging Face hub"
    )


def in_short(fault: BaseException, most: int = 300) -> str:
    """What kind of fault, and the beginning of what it says: libraries go on for pages."""
    said = " ".join(str(fault).split())
    return f"{type(fault).__name__}: {said[:most]}" if said else type(fault).__name__


def some(names: Iterable[str], most: int = 3) -> str:
    """The first few of many names, for a message."""
    ordered = sorted(names)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
