"""When a request arrived: at the service's proxy, which says so in a header, not at the replica that serves it."""

ARRIVED = "x-tuwen-arrived"
"""Seconds since the epoch. The proxy takes it off what callers send, who could only shorten their own time by it."""
MOST_S = 60.0
"""A clock that is further off than this is not believed."""


def arrival(stamp: str, now: float) -> float:
    """What the proxy has noted; now, if that is nothing, no number, or cannot be."""
    try:
        noted = float(stamp)
    except ValueError:
        return now
    return noted if now - MOST_S <= noted <= now else now
