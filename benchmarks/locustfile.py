"""The load test for people who use locust: ``locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000``.

``pip install locust`` into the project's environment first: the project does not depend on it. Each user asks about a
sample picture with a mark of its own, waits for the answer, and asks again; after a holding reply, when that says so.
Locust's users are a closed loop: for times under overload take ``python -m benchmarks.load``, which sends whatever has
become of the requests before.
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from locust import FastHttpUser, task  # type: ignore[import-not-found]  # nor is it there when types are checked

from benchmarks.load.marking import BOUNDARY, Marker, form

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
HEAD = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

marker, marks = Marker(), count()


def questions() -> Iterator[tuple[Path, str]]:
    """The demo's samples, with each question about them."""
    for entry in json.loads((SAMPLES / "samples.json").read_text(encoding="utf-8")):
        yield from ((SAMPLES / entry["file"], question) for question in entry["questions"])


ASKED = list(questions())


class Asking(FastHttpUser):  # type: ignore[misc]
    """One who asks about pictures that nobody has seen before."""

    away_s = 0.0

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        number = next(marks)
        file, question = ASKED[number % len(ASKED)]
        body = form(marker.marked(str(file), number), file.name, {"question": question})
        with self.client.post("/v1/ask", data=body, headers=HEAD, catch_response=True) as response:
            self._judge(response)

    def _judge(self, response: Any) -> None:
        """A holding reply is counted under a name of its own, and waited for."""
        if response.status_code != 200:
            response.failure(f"{response.status_code} {response.text[:200]}")
            return
        reply = response.json()
        if reply["level"] == "holding":
            response.request_meta["name"] = "/v1/ask (holding)"
            self.away_s = reply["retry_after_s"]

    def wait_time(self) -> float:
        away_s, self.away_s = self.away_s, 0.0
        return away_s
