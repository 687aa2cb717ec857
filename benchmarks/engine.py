"""Throughput of the row engine on the demo checkpoint: ``python -m benchmarks.engine [--json OUT]``.

One run compares, on the same questions about the same pictures: the row engine; the reference engine, one request at a
time; ``generate`` on static batches of 8; and the bound, which is the bare decode forward of 16 rows without anything
around it. Two workloads: field questions (about 8 tokens) and transcriptions (about 60). Every figure is the median of
several rounds' ratios of two timings, one right after the other; the ideal gain comes from each round's own step times.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from demo.checkpoint import FOLDER
from demo.evaluate import Case
from demo.families import FAMILIES
from demo.lessons import Lesson
from demo.pictures import seeds
from demo.scores import MAIN
from deployments.model.engine import Decoding, Engine, EngineRequest, Generation
from deployments.model.loading import Loaded, load
from deployments.model.pixels import PatchLayout, patchify
from deployments.model.prompt import PromptWriter
from deployments.model.reference import ReferenceEngine
from deployments.model.rows.batch import Batch
from deployments.model.rows.decode import Fed
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import ModelSettings, RowSettings

ROWS, STATIC = 16, 8
SETTINGS = RowSettings(rows=ROWS, length=768, prefix_store_mb=0, feature_store_mb=0)
BEAM_WIDTH = 4
CLIENTS = (1, 4, 16)
LONGEST = {"field questions": 40, "transcriptions": 200}  # tokens; the answers end by themselves


def requests_about(loaded: Loaded, workload: str, count: int, beam_width: int = 1) -> list[EngineRequest]:
    """``count`` questions about as many held-out pictures of all families."""
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)
    requests = []
    for number, family in zip(range(count), cycle(FAMILIES)):
        case = Case(MAIN, family, next(seeds(family, number * 100, held_out=True)))
        picture, questions = case.lesson()
        asked = questions[-1] if workload == "transcriptions" else questions[0]
        pixels = Lesson.about(picture, (), case.budget()).pixels
        counts = [loaded.layout.tokens(part) for part in pixels]
        decoding = Decoding(LONGEST[workload], beam_width)
        requests.append(EngineRequest(writer.write(asked.text, counts), pixels, decoding))
    return requests


@dataclass(frozen=True, slots=True)
class Timed:
    """Seconds and generated tokens, end tokens included, of a workload."""

    seconds: float
    tokens: int

    @property
    def per_second(self) -> float:
        return self.tokens / self.seconds


def timed(run: Callable[[], int]) -> Timed:
    began = time.perf_counter()
    tokens = run()
    return Timed(time.perf_counter() - began, tokens)


def through(engine: Engine, requests: Sequence[EngineRequest], clients: int | None = None) -> Timed:
    """All requests through an engine, ``clients`` at a time (all at once if not given)."""

    def run() -> int:
        waiting, running, tokens = list(requests), list[Future[Generation]](), 0
        while waiting or running:
            while waiting and len(running) < (clients or len(requests)):
                running.append(engine.submit(waiting.pop(0)))
            tokens += 1 + len(running.pop(0).result().token_ids)
        return tokens

    return timed(run)


def in_static_batches(loaded: Loaded, requests: Sequence[EngineRequest]) -> Timed:
    """``model.generate`` on batches of 8 as they come, padded on the left."""

    def run() -> int:
        return sum(_generate(loaded, requests[start : start + STATIC]) for start in range(0, len(requests), STATIC))

    return timed(run)


@torch.inference_mode()
def _generate(loaded: Loaded, batch: Sequence[EngineRequest]) -> int:
    longest = max(request.prompt.tokens for request in batch)
    pad = loaded.eos_token_ids[0]

    def left_padded(rows: list[torch.Tensor], fill: int) -> torch.Tensor:
        return torch.stack([torch.cat([torch.full((longest - len(row),), fill), row]) for row in rows])

    ids = [request.prompt.input_ids[0] for request in batch]
    assert isinstance(loaded.layout, PatchLayout)
    values, grid = patchify([picture for request in batch for picture in request.pictures], loaded.layout)
    output = loaded.model.generate(
        input_ids=left_padded(ids, pad),
        attention_mask=left_padded([torch.ones_like(row) for row in ids], 0),
        mm_token_type_ids=left_padded([request.prompt.mm_token_type_ids[0] for request in batch], 0),
        pixel_values=values,
        image_grid_thw=grid,
        max_new_tokens=max(request.decoding.max_new_tokens for request in batch),
        do_sample=False,
        eos_token_id=list(loaded.eos_token_ids),
        pad_token_id=pad,
    )
    return sum(_until_end(row, loaded.eos_token_ids) for row in output[:, longest:].tolist())


def _until_end(row: Sequence[int], eos: Sequence[int]) -> int:
    return next((place + 1 for place, token in enumerate(row) if token in eos), len(row))


@torch.inference_mode()
def bare_step_s(batch: Batch, rows: int, length: int, repeats: int = 60) -> float:
    """Median seconds of the decode forward alone, of so many rows of so many tokens; the rows stay as they are."""
    every = np.arange(rows)
    token, column = np.full(rows, 5), np.full(rows, length - 1)
    fed, kept, times = Fed(token, every, column, column), batch.cache.kv[:, :rows, :, length - 1].clone(), []
    for _ in range(repeats):
        began = time.perf_counter()
        batch.forward(fed)
        times.append(time.perf_counter() - began)
    batch.cache.kv[:, :rows, :, length - 1] = kept
    return median(times)


class Watched(Batch):
    """A batch that, after each step in which all rows decoded and nothing else was done, runs the bare forward of it.

    The two are timed in one thread, a moment apart: what else the machine does, it does to both.
    """

    def __init__(self, *arguments: Any) -> None:
        self.steps: list[float] = []
        self.bare: list[float] = []
        super().__init__(*arguments)

    def step(self) -> None:
        full = len(self.decoding) == ROWS and not self.prefilling and not self.waiting
        longest = 1 + max((sequence.length for sequence in self.decoding), default=0)
        began = time.perf_counter()
        super().step()
        done = time.perf_counter()
        if full:
            self.steps.append(done - began)
            self.bare.append(bare_step_s(self, ROWS, longest, repeats=1))


def against_bound(loaded: Loaded) -> dict[str, float]:
    """Decode steps of 16 greedy rows: the engine's, all included, against the bare forward of the same rows."""
    loaded = replace(loaded, eos_token_ids=(-1,))  # nobody ends early
    engine = RowEngine(loaded, SETTINGS)
    engine.batch = batch = Watched(loaded, loaded.take_apart(), SETTINGS, time.time, engine.sight.ask)
    for future in [engine.submit(request) for request in requests_about(loaded, "transcriptions", ROWS)]:
        future.result()
    engine.close()
    step, bare = median(batch.steps), median(batch.bare)
    share = median(bare / step for bare, step in zip(batch.bare, batch.steps, strict=True))
    return {"step_ms": step * 1e3, "bare_step_ms": bare * 1e3, "share": share}


def ideal_gain(engine: RowEngine, requests: Sequence[EngineRequest], tokens: float) -> float:
    """What 16 rows could gain at best over one: vision and prefill stay what they are, steps are shared."""
    first = [engine.submit(_shortened(request)).result() for request in requests]
    prefill_s = median(generation.generate_ms for generation in first) / 1e3
    length = requests[0].prompt.tokens
    one, many = (bare_step_s(engine.batch, rows, length) for rows in (1, ROWS))
    return (prefill_s + tokens * one) / (prefill_s + tokens * many / ROWS)


def _shortened(request: EngineRequest) -> EngineRequest:
    return replace(request, decoding=Decoding(1))


def compare(loaded: Loaded, workload: str, count: int, rounds: int) -> dict[str, float]:
    """Medians of ``rounds``, each of which times everything on the same requests, one right after the other."""
    requests = requests_about(loaded, workload, count)
    engine, reference = RowEngine(loaded, SETTINGS), ReferenceEngine(loaded)
    through(engine, requests[:ROWS])
    found = [_round(loaded, engine, reference, requests) for _ in range(rounds)]
    for closing in (engine, reference):
        closing.close()
    return {key: median(result[key] for result in found) for key in found[0]}


def _round(
    loaded: Loaded, engine: RowEngine, reference: ReferenceEngine, requests: Sequence[EngineRequest]
) -> dict[str, float]:
    rows, alone = through(engine, requests), through(reference, requests, clients=1)
    static = in_static_batches(loaded, requests)
    ideal = ideal_gain(engine, requests[:8], rows.tokens / len(requests))
    gain = rows.per_second / alone.per_second
    return {
        "tokens_per_answer": rows.tokens / len(requests),
        "rows_tokens_per_s": rows.per_second,
        "rows_vs_reference": gain,
        "rows_vs_static8": rows.per_second / static.per_second,
        "ideal_gain": ideal,
        "share_of_ideal": gain / ideal,
    }


def beam_costs(loaded: Loaded, workload: str, count: int, rounds: int) -> dict[str, float]:
    """Throughput in answers, greedy over beam 4, by number of clients; medians of rounds."""
    engine = RowEngine(loaded, SETTINGS.model_copy(update={"collapse": False}))
    greedy, beams = (requests_about(loaded, workload, count, width) for width in (1, BEAM_WIDTH))
    costs = {}
    for clients in CLIENTS:
        some = max(8, count * clients // max(CLIENTS))  # fewer clients answer fewer in the same time
        ratios = []
        for _ in range(rounds):
            narrow, wide = through(engine, greedy[:some], clients), through(engine, beams[:some], clients)
            ratios.append(wide.seconds / narrow.seconds)
        costs[str(clients)] = median(ratios)
    engine.close()
    return costs


def table(result: dict[str, Any]) -> str:
    lines = ["| | field questions | transcriptions |", "|---|---|---|"]
    names = {
        "tokens_per_answer": "tokens an answer",
        "rows_tokens_per_s": "row engine, tokens/s",
        "rows_vs_reference": "row engine against one at a time",
        "ideal_gain": "ideal gain of 16 rows in this run",
        "share_of_ideal": "share of the ideal",
        "rows_vs_static8": "row engine against static batches of 8",
    }
    workloads = [result["workloads"][name] for name in LONGEST]
    lines += [f"| {title} | " + " | ".join(f"{w[key]:.2f}" for w in workloads) + " |" for key, title in names.items()]
    for clients in map(str, CLIENTS):
        costs = " | ".join(f"{result['beam_costs'][name][clients]:.2f}" for name in LONGEST)
        lines.append(f"| cost of beam 4, {clients} at a time | {costs} |")
    bound = result["bound"]
    lines.append("")
    engine, bare = (f"{bound[key]:.2f} ms" for key in ("step_ms", "bare_step_ms"))
    share = f"{bound['share']:.1%} of the bound"
    lines.append(f"Decode step of {ROWS} greedy rows: {engine} in the engine, {bare} for the forward alone: {share}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.engine", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--requests", type=int, default=32, help="for each measurement (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="whose median is taken (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--checkpoint", type=Path, default=FOLDER)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load(ModelSettings(checkpoint=str(options.checkpoint.resolve()), device="cpu"))
    workloads = {name: compare(loaded, name, options.requests, options.rounds) for name in LONGEST}
    costs = {name: beam_costs(loaded, name, options.requests, options.rounds) for name in LONGEST}
    bound = against_bound(loaded)
    long = workloads["transcriptions"]
    result = {
        "rows_vs_reference": long["rows_vs_reference"],
        "rows_vs_static8": long["rows_vs_static8"],
        "rows_vs_bound": bound["share"],
        "beam_cost_ratio": costs["transcriptions"],
        "workloads": workloads,
        "beam_costs": costs,
        "bound": bound,
        "threads": options.threads,
    }
    print(table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
