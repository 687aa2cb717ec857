"""The answer cache on a Zipf trace against a running service: hits, model time saved, and wrong hits.

    make serve                                    # in another terminal
    python -m benchmarks.answer_cache --requests 2000 --pictures 300

The trace: 300 demo pictures with up to three questions each; request number n asks about the picture of rank r with a
probability proportional to 1 / r (Zipf, exponent 1), and about one of its questions, evenly. Everything follows from
``--seed``. A wrong hit is an answer from the cache that no computation of the same question about the same picture has
given. Pictures are salted with the time in their corner, so that every run starts with a cache that knows none of them.
"""

import argparse
import json
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from itertools import islice
from random import Random
from statistics import mean
from threading import Lock
from typing import Any

import numpy as np
import requests
from PIL import Image

from demo.families import FAMILIES, SIZES
from demo.pictures import rng_of, seeds

QUESTIONS = 3


def pictures(count: int, salt: int) -> list[tuple[bytes, list[str]]]:
    """Held-out demo pictures as PNG, with their questions; no two runs' pictures are the same."""
    found = []
    for family in FAMILIES.values():
        for seed in islice(seeds(family.name, 1, held_out=True), -(-count // len(FAMILIES))):
            rng = rng_of(family.name, seed)
            picture = family.draw(rng, rng.choice(SIZES))
            pixels = np.array(picture.pixels)
            pixels[0, :8] = np.frombuffer(np.array([salt, seed, 0], np.uint64).tobytes(), np.uint8).reshape(8, 3)
            buffer = BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
            asked = dict.fromkeys(question.text for question in family.questions(picture, rng, QUESTIONS, 0.0))
            found.append((buffer.getvalue(), list(asked)))
    Random(salt).shuffle(found)
    return found[:count]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.answer_cache", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    shown, rng = pictures(options.pictures, int(time.time())), Random(options.seed)
    ranks = rng.choices(range(len(shown)), [1 / (rank + 1) for rank in range(len(shown))], k=options.requests)
    trace = [(rank, rng.randrange(len(shown[rank][1]))) for rank in ranks]
    lock, replies = Lock(), list[tuple[tuple[int, int], dict[str, Any]]]()

    def ask(case: tuple[int, int]) -> None:
        data, questions = shown[case[0]]
        form = {"question": questions[case[1]]}
        response = requests.post(f"{options.url}/v1/ask", files={"image": data}, data=form, timeout=120)
        response.raise_for_status()
        with lock:
            replies.append((case, response.json()))

    began = time.perf_counter()
    with ThreadPoolExecutor(options.clients) as clients:
        list(clients.map(ask, trace))
    print(json.dumps(report(replies) | {"wall_s": round(time.perf_counter() - began, 1)}, indent=1))


def report(replies: list[tuple[tuple[int, int], dict[str, Any]]]) -> dict[str, Any]:
    """Figures of the replies. A hit saves what computing that answer took, on average where levels made it several."""
    computed = defaultdict[tuple[int, int], list[dict[str, Any]]](list)
    for case, reply in replies:
        if not reply["cached"]:
            computed[case].append(reply)
    took = {case: [reply["timing_ms"]["generate"] / 1e3 for reply in found] for case, found in computed.items()}
    hits = [(case, reply) for case, reply in replies if reply["cached"]]
    return {
        "requests": len(replies),
        "different": len({case for case, _ in replies}),
        "hits": len(hits),
        "hit_rate": round(len(hits) / len(replies), 3),
        "model_s_spent": round(sum(map(sum, took.values())), 1),
        "model_s_saved": round(sum(mean(took[case]) for case, _ in hits if case in took), 1),
        "wrong_hits": sum(all(reply["answer"] != one["answer"] for one in computed[case]) for case, reply in hits),
        "levels": dict(Counter(reply["level"] for _, reply in replies)),
    }


if __name__ == "__main__":
    main()
