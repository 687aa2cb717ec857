"""How long running rows wait for their next token while long prompts come in: ``python -m benchmarks.step_times``.

Eight greedy rows of the demo checkpoint run; prompts of 600 tokens arrive meanwhile, four at a time, or none do. A step
takes ``prefill_tokens`` at most, of running rows and of pieces of prompts: a smaller number makes steps shorter,
and prompts wait longer.
"""

import argparse
import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.engine import SETTINGS
from demo.checkpoint import FOLDER
from deployments.model.engine import Decoding, EngineRequest
from deployments.model.loading import Loaded, load
from deployments.model.prompt import PromptWriter
from deployments.model.rows.batch import Batch
from deployments.model.rows.engine import RowEngine
from deployments.model.settings import ModelSettings

RUNNING, ARRIVING, TOKENS = 8, 4, 150
LONG = "一" * 580
BUDGETS = (2048, 256, 64)


class Timed(Batch):
    """Notes the milliseconds of every step in which all running rows get a token."""

    def __init__(self, *arguments: Any) -> None:
        self.steps: list[float] = []
        super().__init__(*arguments)

    def step(self) -> None:
        counts = len(self.decoding) >= RUNNING
        began = time.perf_counter()
        super().step()
        if counts:
            self.steps.append((time.perf_counter() - began) * 1e3)


def steps_ms(loaded: Loaded, prefill_tokens: int, prompts_come: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of the rows that run, while others arrive."""
    settings = SETTINGS.model_copy(update={"prefill_tokens": prefill_tokens})
    loaded = replace(loaded, eos_token_ids=(-1,))  # nobody ends early
    engine = RowEngine(loaded, settings)
    engine.batch = batch = Timed(loaded, loaded.take_apart(), settings, time.time, engine.sight.ask)
    writer = PromptWriter(loaded.tokenizer, loaded.model.config.image_token_id)
    running = [engine.submit(EngineRequest(writer.write(f"{n}", []), (), Decoding(TOKENS))) for n in range(RUNNING)]
    long = EngineRequest(writer.write(LONG, []), (), Decoding(1))
    while prompts_come and not any(future.done() for future in running):
        for future in [engine.submit(long) for _ in range(ARRIVING)]:
            future.result()
    for future in running:
        future.result()
    engine.close()
    return np.array(batch.steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step_times", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="all of whose steps count (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    loaded = load(ModelSettings(checkpoint=str(FOLDER.resolve()), device="cpu"))
    print("| prompts | prefill_tokens | median step, ms | 99 % within, ms |\n|---|---|---|---|")
    for prompts_come, budget in ((False, BUDGETS[0]), *((True, budget) for budget in BUDGETS)):
        steps = np.concatenate([steps_ms(loaded, budget, prompts_come) for _ in range(options.rounds)])
        told = "come" if prompts_come else "none"
        print(f"| {told} | {budget} | {np.median(steps):.1f} | {np.percentile(steps, 99):.1f} |", flush=True)


if __name__ == "__main__":
    main()
