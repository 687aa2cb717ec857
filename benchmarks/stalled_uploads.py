"""Uploads that begin and stop, beside a running service: does anybody else notice, and how long is each held?

``python -m benchmarks.stalled_uploads [--count 240] [--url http://127.0.0.1:8000]`` opens so many connections, sends
each the first bytes of a form and nothing more, and meanwhile asks after the service's health and asks it questions. An
API key, if one is needed, is read from ``TUWEN_API_KEY``. Exits 1 when an answer beside them took longer than
``--most-s``, or a connection was still held after ``--held-s``.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

SAMPLE = Path(__file__).parents[1] / "demo" / "samples" / "order-1.png"
QUESTION = "订单号是多少？"
FIRST_BYTES = 250


@dataclass
class Seen:
    """Seconds that answers took and connections were held, and the statuses that these got (0: none)."""

    health_s: list[float] = field(default_factory=list)
    answers_s: list[float] = field(default_factory=list)
    held_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def __str__(self) -> str:
        return (
            f"health {len(self.health_s)} times, longest {max(self.health_s):.2f} s; answers {len(self.answers_s)} "
            f"times, longest {max(self.answers_s):.2f} s; stalled connections held {min(self.held_s):.1f} to "
            f"{max(self.held_s):.1f} s, statuses {dict(self.statuses)}"
        )


async def stalled(url: str, headers: dict[str, str], seen: Seen, limit_s: float) -> None:
    """One upload that stops; until it is ended, or the time is over."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    began, status = time.monotonic(), 0
    lines = [f"POST {where.path}/v1/ask HTTP/1.1", f"Host: {where.netloc}", "Content-Length: 1000000"]
    lines += ["Content-Type: multipart/form-data; boundary=x", *(f"{name}: {value}" for name, value in headers.items())]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    form = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.ljust(FIRST_BYTES, b"x")
    try:
        writer.write(head + form)
        async with asyncio.timeout(limit_s):
            answer = await reader.read()  # to the end: until then the connection is held
            status = int(answer.split(b" ", 2)[1]) if answer else 0
    except (TimeoutError, OSError):
        pass
    finally:
        seen.held_s.append(time.monotonic() - began)
        seen.statuses[status] += 1
        writer.close()


async def timed(seen: list[float], asking: "asyncio.Future[httpx2.Response]") -> None:
    began = time.monotonic()
    (await asking).raise_for_status()
    seen.append(time.monotonic() - began)


async def others(client: httpx2.AsyncClient, url: str, seen: Seen) -> None:
    """Asks after the health, and a question, again and again until cancelled."""
    picture = SAMPLE.read_bytes()
    while True:
        files, data = {"image": ("order.png", picture)}, {"question": QUESTION}
        await timed(seen.health_s, asyncio.ensure_future(client.get(f"{url}/healthz")))
        await timed(seen.answers_s, asyncio.ensure_future(client.post(f"{url}/v1/ask", files=files, data=data)))


async def measured(url: str, count: int, limit_s: float) -> Seen:
    """What is seen while ``count`` uploads stall, for ``limit_s`` at most."""
    seen, key = Seen(), os.environ.get("TUWEN_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as client:
        stalling = [asyncio.create_task(stalled(url, headers, seen, limit_s)) for _ in range(count)]
        beside = asyncio.create_task(others(client, url, seen))
        await asyncio.wait(stalling)
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside  # what failed beside them is raised here
    return seen


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--url", default="http://127.0.0.1:8000")
    options.add_argument("--count", type=int, default=240)
    options.add_argument("--most-s", type=float, default=2.0, help="what an answer beside them may take")
    options.add_argument("--held-s", type=float, default=45.0, help="how long a stalled upload may be held")
    given = options.parse_args()
    seen = asyncio.run(measured(given.url.rstrip("/"), given.count, given.held_s))
    print(f"{given.count} stalled uploads: {seen}")
    return int(max(seen.health_s + seen.answers_s) > given.most_s or max(seen.held_s) >= given.held_s)


if __name__ == "__main__":
    sys.exit(main())
