"""The types of the command line's arguments: each turns a text into a value, or says what a right one would be."""

import argparse
import math
from collections.abc import Callable

LONGEST_WAIT_S = 7 * 24 * 3600


def seconds(least: float) -> Callable[[str], float]:
    """The type of an option that is a time."""

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= LONGEST_WAIT_S:
            raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {least:g} to {LONGEST_WAIT_S}")
        return value

    return parsed


def tokens(text: str) -> int:
    """The type of an option that is a number of tokens."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens: give 1 or more")
    return int(text)


def address(text: str) -> str:
    """The type of an argument that is the address of a service."""
    from serve_app.client import AddressError, service_address

    try:
        return service_address(text)
    except AddressError as fault:
        raise argparse.ArgumentTypeError(str(fault)) from fault


def share(text: str) -> float:
    """The type of an option that is a part of a whole."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: give a number from 0 to 1")
    return value
