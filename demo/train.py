"""Train the demo checkpoint: ``python -m demo.train``. Resumable: kill it and start the same command again.

Language loss alone learns the labels and guesses the values. What makes the model read is two auxiliary losses, whose
heads are no part of the model, and a curriculum. (1) Each visual token names the characters whose centres fall into its
square. (2) Each token of an answer points to where the next character stands. (3) Dense pages of characters for the
vision tower alone, then pictures with one line, then whole ones, at last among them large ones, shown as an overview
and tiles; a training that goes on has damaged pages for the vision tower among them.

Batches come from a child process, each from its own step's seeds, in a fixed order: the curve after a kill is the curve
without it. ``--start`` goes on from a finished checkpoint, on new pictures; what comes out keeps a share of the weights
that it started from, which averages out some of their noise.
"""

import argparse
import json
import os
import pickle
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from queue import Full
from random import Random
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from demo import primer, scene
from demo.checkpoint import FOLDER, alphabet, build_image_processor, build_model, build_tokenizer
from demo.families import FAMILIES, SIZES
from demo.lessons import Batch, Lesson, Writer
from demo.muon import Muon, is_fast_in_bfloat16
from demo.pictures import is_held_out, rng_of
from demo.reader import Reader
from deployments.model.pixels import PatchLayout

WEIGHTS = {"text": 1.0, "cells": 1.0, "pointer": 0.3}
LOG_EVERY, SAVE_EVERY = 50, 100  # steps
BATCH, LARGE_BATCH = 16, 4  # pictures
QUESTIONS, LARGE_QUESTIONS = 6, 3  # about single things; the whole text is asked for besides
ABSENT_SHARE = 0.15
TURNS = (*FAMILIES, "waybill")  # the hardest one twice
HEADS, LOG = "heads.safetensors", "training.jsonl"  # beside a checkpoint's own files
NUMBERS_APART = 1_000  # a continued training begins at this many times the pictures seen before: far from all of them


@dataclass(frozen=True, slots=True)
class Stage:
    """A lesson of the curriculum: ``steps`` batches of ``kind``.

    One batch in ``large_every`` has large pictures, one in ``damaged_every`` damaged pages for the vision tower alone.
    """

    kind: str
    steps: int
    large_every: int = 0
    damaged_every: int = 0


def curriculum(steps: int, continued: bool = False) -> tuple[Stage, ...]:
    """The stages for a total of ``steps``; a continued training has the last one only."""
    if continued:
        return (Stage("whole and large", steps, large_every=16, damaged_every=3),)
    early = (Stage("primer", round(steps * 0.17)), Stage("one line", round(steps * 0.06)))
    plain = Stage("whole", round(steps * 0.37))
    rest = steps - sum(stage.steps for stage in (*early, plain))
    return (*early, plain, Stage("whole and large", rest, large_every=5))


def stage_at(stages: tuple[Stage, ...], step: int) -> Stage:
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


def learning_rate(step: int, total: int, peak: float, warmup: int = 50, decay_share: float = 0.4) -> float:
    """Linear warm-up, a plateau, and a linear decay to a hundredth over the last two fifths."""
    decay_from = total * (1 - decay_share)
    fall = max(0.01, 1 - (step - decay_from) / (total - decay_from)) if step > decay_from else 1.0
    return peak * min(1.0, (step + 1) / warmup) * fall


def training_seed(family: str, number: int) -> int:
    """The seed of training picture ``number``: held-out ones are jumped over to far above every other picture's."""
    while is_held_out(family, number):
        number += 1_000_000_007
    return number


def lessons_of(
    step: int, stage: Stage, characters: str, first_picture: int = 0, more: Sequence[str] = ()
) -> list[Lesson]:
    """The lessons of one step; plain pictures of one batch have one size, large ones one desk.

    Each family has its turn, and those named in ``more`` one more each time.
    """
    turns = (*TURNS, *more)
    shapes = Random(f"shapes:{step}")
    first = first_picture + step * BATCH
    large = stage.large_every > 0 and step % stage.large_every == 0
    damaged = not large and stage.damaged_every > 0 and step % stage.damaged_every == 1
    size, desk = shapes.choice(SIZES), shapes.choice(scene.DESKS)
    lessons = []
    for number in range(first, first + (LARGE_BATCH if large else BATCH)):
        if stage.kind == "primer" or damaged:
            rng = rng_of(primer.FAMILY, training_seed(primer.FAMILY, number))
            lessons.append(Lesson.about(primer.draw(rng, size, characters, damaged=damaged), (), scene.BUDGET))
            continue
        family = FAMILIES[turns[number % len(turns)]]
        rng = rng_of(family.name, training_seed(family.name, number))
        fewest = stage.kind == "one line"
        picture = scene.draw(rng, family, desk) if large else family.draw(rng, size, fewest=fewest)
        asked = family.questions(picture, rng, LARGE_QUESTIONS if large else QUESTIONS, ABSENT_SHARE)
        lessons.append(Lesson.about(picture, asked, scene.BUDGET))
    return lessons


def training_batches(start: int, total: int, before: int, more: Sequence[str]) -> Iterator[Batch]:
    """Batches from step ``start`` on, of pictures that none of the ``before`` of an earlier training was."""
    writer = Writer(build_tokenizer(), layout_of(build_image_processor()))
    stages, characters = curriculum(total, before > 0), alphabet().replace("\n", "").replace(" ", "")
    for step in range(start, total):
        yield writer.batch(lessons_of(step, stage_at(stages, step), characters, before * NUMBERS_APART, more))


def layout_of(processor: Any) -> PatchLayout:
    return PatchLayout(processor.patch_size, processor.temporal_patch_size, processor.merge_size,
                       tuple(processor.image_mean), tuple(processor.image_std))  # fmt: skip


def _produce(queue: Any, trainer: int, start: int, total: int, before: int, more: Sequence[str]) -> None:
    """Runs until the trainer ends; a killed one must not leave us behind, waiting for it to read."""
    torch.set_num_threads(1)
    queue.cancel_join_thread()
    for item in chain(map(pickle.dumps, training_batches(start, total, before, more)), [None]):
        while os.getppid() == trainer:
            try:
                queue.put(item, timeout=5)
                break
            except Full:
                continue
    while os.getppid() == trainer:
        time.sleep(1)


def prefetched(start: int, total: int, before: int, more: Sequence[str]) -> Iterator[Batch]:
    """``training_batches`` drawn by a child process, a few ahead."""
    context = get_context("spawn")
    queue = context.Queue(maxsize=8)
    context.Process(target=_produce, args=(queue, os.getpid(), start, total, before, more), daemon=True).start()
    while (item := queue.get()) is not None:
        yield pickle.loads(item)


def optimizers(reader: Reader) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, heads, norms and convolutions."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in reader.named_parameters():
        inner = parameter.ndim == 2 and not any(part in name for part in ("embed", "head"))
        (matrices if inner else rest).append(parameter)
    return [
        Muon(matrices, lr=1.0),
        torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def train(options: argparse.Namespace) -> None:
    """Train for ``options.steps``, from the last saved state if there is one, then export the checkpoint."""
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = build_tokenizer()
    model = build_model(tokenizer).to(device).train()
    reader = Reader(model, layout_of(build_image_processor()), compiled=options.compile).to(device)
    if options.start:
        model.load_state_dict(load_file(options.start / "model.safetensors"))
        reader.heads.load_state_dict(load_file(options.start / HEADS))
    start = {name: weight.clone() for name, weight in reader.state_dict().items()}
    steppers = optimizers(reader)
    journal = Journal(options.work, options.steps, options.start and options.start / LOG)
    step = journal.resume(reader, steppers)
    for batch in prefetched(step, options.steps, journal.before, options.more):
        set_rates(steppers, step, options)
        journal.add(take_step(reader, steppers, batch, device), len(batch.families))
        step += 1
        finished = step == options.steps
        if step % LOG_EVERY == 0 or finished:
            journal.log(step)
        if step % SAVE_EVERY == 0 or finished:
            journal.save(step, reader, steppers)
            export(reader, tokenizer, options.work / "checkpoint")
    if options.start:
        keep(reader, start, options.start_share)
    export(reader, tokenizer, options.out)
    shutil.copy(journal.path, options.out / LOG)


def keep(reader: Reader, start: dict[str, torch.Tensor], share: float) -> None:
    """Move the weights back towards ``start``: the mean, where ``share`` is a half."""
    for name, weight in reader.state_dict().items():
        weight.lerp_(start[name], share)


def take_step(
    reader: Reader, steppers: list[torch.optim.Optimizer], batch: Batch, device: torch.device
) -> dict[str, float]:
    """One optimizer step; returns its losses and accuracies."""
    with torch.autocast(device.type, torch.bfloat16, enabled=is_fast_in_bfloat16(device)):
        losses = reader(batch)
        loss = sum(weight * losses[name] for name, weight in WEIGHTS.items() if name in losses)
    loss.backward()
    nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
    for stepper in steppers:
        stepper.step()
        stepper.zero_grad(set_to_none=True)
    return {name: value.item() for name, value in losses.items()}


def set_rates(steppers: list[torch.optim.Optimizer], step: int, options: argparse.Namespace) -> None:
    for stepper, peak in zip(steppers, (options.muon_rate, options.rate), strict=True):
        for group in stepper.param_groups:
            group["lr"] = learning_rate(step, options.steps, peak)


class Journal:
    """State and log on disk, so that a killed training goes on where it was saved, with the log it would have had."""

    def __init__(self, folder: Path, total: int, earlier: Path | None = None) -> None:
        """``earlier`` is the log of the training that this one continues."""
        self.path = folder / "log.jsonl"
        self._window: list[dict[str, float]] = []
        self._state, self._total, self._continued = folder / "state.pt", total, earlier is not None
        self._earlier = earlier.read_text().splitlines() if earlier else []
        last = json.loads(self._earlier[-1]) if self._earlier else {"step": 0, "pictures": 0}
        self._first_step, self.before = last["step"], last["pictures"]
        self._pictures = self.before
        self._since = (0, self._pictures, time.time())

    def resume(self, reader: Reader, steppers: list[torch.optim.Optimizer]) -> int:
        """Load the last state, if there is one, and cut the log back to it; returns the steps done."""
        if not self._state.exists():
            self.path.write_text("".join(line + "\n" for line in self._earlier))
            return 0
        state = torch.load(self._state, weights_only=True)
        reader.load_state_dict(state["reader"])
        for stepper, saved in zip(steppers, state["steppers"], strict=True):
            stepper.load_state_dict(saved)
        step, self._pictures = state["step"], state["pictures"]
        done = self._first_step + step
        kept = [line for line in self.path.read_text().splitlines() if json.loads(line)["step"] <= done]
        self.path.write_text("".join(line + "\n" for line in kept))
        self._since = (step, self._pictures, time.time())
        return int(step)

    def add(self, entry: dict[str, float], pictures: int) -> None:
        self._window.append(entry)
        self._pictures += pictures

    def log(self, step: int) -> None:
        """Append the window's means, print them with the minutes left, and begin a new window."""
        names = {name for entry in self._window for name in entry}
        means = {name: fmean(entry[name] for entry in self._window if name in entry) for name in sorted(names)}
        stage = stage_at(curriculum(self._total, self._continued), step - 1).kind
        entry = {"step": self._first_step + step, "pictures": self._pictures, "stage": stage}
        entry |= {name: round(mean, 4) for name, mean in means.items()}
        with self.path.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        first, pictures, began = self._since
        elapsed_s = time.time() - began
        speed = {
            "pictures_per_s": round((self._pictures - pictures) / elapsed_s, 1),
            "minutes_left": round((self._total - step) * elapsed_s / (step - first) / 60),
        }
        print(json.dumps({**entry, **speed}), flush=True)
        self._window, self._since = [], (step, self._pictures, time.time())

    def save(self, step: int, reader: Reader, steppers: list[torch.optim.Optimizer]) -> None:
        """Atomically: a kill while saving leaves the previous state."""
        partial = self._state.with_suffix(".partial")
        state = {"step": step, "pictures": self._pictures, "reader": reader.state_dict(),
                 "steppers": [stepper.state_dict() for stepper in steppers]}  # fmt: skip
        torch.save(state, partial)
        partial.replace(self._state)


def export(reader: Reader, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint that transformers loads, weights in bfloat16; beside it the heads, for ``--start``."""
    fresh = build_model(tokenizer)
    fresh.load_state_dict(reader.model.state_dict())
    fresh.to(torch.bfloat16).save_pretrained(folder)
    heads = {name: weight.to(torch.bfloat16).contiguous() for name, weight in reader.heads.state_dict().items()}
    save_file(heads, folder / HEADS)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m demo.train", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6_000, help="optimizer steps in all (default %(default)s)")
    parser.add_argument("--rate", type=float, default=1e-3, help="peak AdamW learning rate")
    parser.add_argument("--muon-rate", type=float, default=2e-3, help="peak Muon learning rate")
    parser.add_argument("--start", type=Path, help="go on from this finished checkpoint instead of random weights")
    parser.add_argument("--start-share", type=float, default=0.5, help="of its weights in the result")
    parser.add_argument(
        "--more", nargs="*", default=[], choices=tuple(FAMILIES), metavar="FAMILY",
        help="draw this family more often, by one turn each time it is named",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", dest="compile", action="store_false", help="where there is no C++ compiler")
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="state, log and the newest checkpoint")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the finished checkpoint goes")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
