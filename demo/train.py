"""Train the demo checkpoint: ``python -m demo.train``. Resumable: kill it and start the same command again.

Language loss alone learns the labels and guesses the values. What makes the model read is (1) an auxiliary loss on the
vision output, thrown away afterwards: each visual token names the characters whose centres fall into its square; and
(2) a curriculum: dense pages of characters for the vision tower alone, then cards with one line, a few, all.

Pictures come from a child process, one seed each, in a fixed order: the curve after a kill is the curve without it.
"""

import argparse
import json
import os
import pickle
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from queue import Full
from statistics import fmean
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import Glm46VForConditionalGeneration

from demo import lessons, orders, primer
from demo.checkpoint import FOLDER, alphabet, build_image_processor, build_model, build_tokenizer
from demo.lessons import IGNORED, SUBCOLUMNS, Batch, Writer, attention_mask
from demo.pictures import is_held_out, rng_of
from deployments.model.pixels import PatchLayout, patchify

TRAINED_FACES = ("noto-sans", "wqy-microhei", "wqy-zenhei")
CELL_WEIGHT = 1.0
LOG_EVERY, SAVE_EVERY = 800, 1_600  # pictures
FIELDS_PER_PICTURE = 4


@dataclass(frozen=True, slots=True)
class Stage:
    """A lesson of the curriculum: ``lines`` (least, most) a card, or None for primer pages without a question."""

    name: str
    pictures: int
    lines: tuple[int, int] | None


def curriculum(pictures: int) -> tuple[Stage, ...]:
    """The stages for a total of ``pictures``: early lessons have a fixed length, the last takes the rest."""
    early = (Stage("primer", 14_400, None), Stage("one line", 4_800, (1, 1)), Stage("few lines", 2_400, (1, 3)))
    return (*early, Stage("orders", max(0, pictures - sum(stage.pictures for stage in early)), (3, 6)))


def stage_at(stages: tuple[Stage, ...], picture: int) -> Stage:
    for stage in stages:
        if picture < stage.pictures:
            return stage
        picture -= stage.pictures
    return stages[-1]


def learning_rate(picture: int, total: int, peak: float, warmup: int = 800, decay_share: float = 0.4) -> float:
    """Linear warm-up, a plateau, and a linear decay to a hundredth over the last two fifths."""
    decay_from = total * (1 - decay_share)
    fall = max(0.01, 1 - (picture - decay_from) / (total - decay_from)) if picture > decay_from else 1.0
    return peak * min(1.0, (picture + 1) / warmup) * fall


def training_batches(start: int, total: int, batch: int) -> Iterator[Batch]:
    """Batches from picture number ``start`` on, each picture from its own training seed."""
    tokenizer, processor = build_tokenizer(), build_image_processor()
    writer = Writer(tokenizer, layout_of(processor))
    stages, characters = curriculum(total), alphabet().replace("\n", "").replace(" ", "")
    for first in range(start, total, batch):
        rows = []
        for picture_number in range(first, first + batch):
            stage = stage_at(stages, picture_number)
            family = primer.FAMILY if stage.lines is None else orders.FAMILY
            # Held-out seeds are jumped over by moving to a seed far above every other picture's.
            seed = picture_number
            while is_held_out(family, seed):
                seed += 1_000_000_007
            rng = rng_of(family, seed)
            if stage.lines is None:
                rows.append((primer.draw(rng, characters, TRAINED_FACES), []))
            else:
                picture = orders.draw(rng, stage.lines, TRAINED_FACES)
                rows.append((picture, lessons.questions_for(picture, rng, FIELDS_PER_PICTURE)))
        yield writer.batch(rows)


def layout_of(processor: Any) -> PatchLayout:
    return PatchLayout(processor.patch_size, processor.temporal_patch_size, processor.merge_size,
                       tuple(processor.image_mean), tuple(processor.image_std))  # fmt: skip


def _produce(queue: Any, trainer: int, start: int, total: int, batch: int) -> None:
    torch.set_num_threads(1)
    for item in chain(map(pickle.dumps, training_batches(start, total, batch)), [None]):
        while os.getppid() == trainer:  # a killed trainer must not leave us behind
            try:
                queue.put(item, timeout=5)
                break
            except Full:
                continue
        else:
            queue.cancel_join_thread()  # nobody will ever read what is still in it
            return


def prefetched(start: int, total: int, batch: int) -> Iterator[Batch]:
    """``training_batches`` drawn by a child process, a few ahead."""
    context = get_context("spawn")
    queue = context.Queue(maxsize=8)
    context.Process(target=_produce, args=(queue, os.getpid(), start, total, batch), daemon=True).start()
    while (item := queue.get()) is not None:
        yield pickle.loads(item)


class Reader(nn.Module):
    """The model with the throw-away cell head."""

    def __init__(self, model: Glm46VForConditionalGeneration, layout: PatchLayout) -> None:
        super().__init__()
        self.model = model
        self.layout = layout
        text = model.config.text_config
        self.cell_head = nn.Linear(text.hidden_size, text.vocab_size * SUBCOLUMNS)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Losses (``cells``, and ``text`` if anything is asked) and teacher-forced accuracies."""
        model = self.model
        pixel_values, grid = patchify(batch.pixels, self.layout, model.device)
        input_ids, labels, cells_wanted, positions = (
            tensor.to(model.device) for tensor in (batch.input_ids, batch.labels, batch.cells, batch.positions)
        )
        features = torch.cat(model.model.get_image_features(pixel_values, grid).pooler_output)
        cells = self.cell_head(features).view(-1, model.config.text_config.vocab_size).float()
        target = cells_wanted.view(-1)
        # Most quarter columns hold no centre: weigh them down, or "nothing" is all that is learnt at first.
        weight = torch.ones(cells.shape[-1], device=cells.device)
        weight[0] = 0.2
        drawn = target > 0
        result = {
            "cells": F.cross_entropy(cells, target, weight=weight),
            "cell_accuracy": (cells.argmax(-1) == target)[drawn].float().mean(),
        }
        asked = labels[:, 1:] != IGNORED
        if asked.any():
            embeddings = model.get_input_embeddings()(input_ids)
            pictured = (input_ids == model.config.image_token_id)[..., None]
            hidden = model.model.language_model(
                inputs_embeds=embeddings.masked_scatter(pictured, features.to(embeddings.dtype)),
                position_ids=positions, attention_mask=self._mask(batch), use_cache=False,
            ).last_hidden_state  # fmt: skip
            logits, wanted = model.lm_head(hidden[:, :-1][asked]).float(), labels[:, 1:][asked]
            result["text"] = F.cross_entropy(logits, wanted)
            result["text_accuracy"] = (logits.argmax(-1) == wanted).float().mean()
        return result

    def _mask(self, batch: Batch) -> torch.Tensor:
        mask = attention_mask(batch.segments.to(self.model.device))
        eager = self.model.config._attn_implementation == "eager"
        return _additive(mask) if eager else mask


def _additive(mask: torch.Tensor) -> torch.Tensor:
    """The form in which eager attention takes a mask: 0 where allowed, a large negative number elsewhere."""
    return torch.zeros(mask.shape, dtype=torch.bfloat16, device=mask.device).masked_fill_(~mask, -1e9)


def optimizers(reader: Reader) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, heads, norms and convolutions."""
    matrices, rest = [], []
    for name, parameter in reader.named_parameters():
        inner = parameter.ndim == 2 and not any(part in name for part in ("embed", "head"))
        (matrices if inner else rest).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=1.0, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=1.0, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def train(options: argparse.Namespace) -> None:
    """Train to ``options.pictures``, from the last saved state if there is one, then export the checkpoint."""
    options.work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = build_tokenizer()
    reader = Reader(build_model(tokenizer), layout_of(build_image_processor())).to(device).train()
    if device.type == "cpu":  # where plain matrix products train faster than the fused kernel
        reader.model.set_attn_implementation("eager")
    steppers = optimizers(reader)
    journal = Journal(options.work, options.pictures)
    start = pictures = journal.resume(reader, steppers)
    began = time.time()
    for batch in prefetched(start, options.pictures, options.batch):
        set_rates(steppers, pictures, options)
        journal.window.append(step(reader, steppers, batch, device))
        pictures += options.batch
        finished = pictures >= options.pictures
        if pictures % LOG_EVERY < options.batch or finished:
            journal.log(pictures, (pictures - start) / (time.time() - began))
        if pictures % SAVE_EVERY < options.batch or finished:
            journal.save(pictures, reader, steppers)
            export(reader.model, tokenizer, options.work / "checkpoint")
    export(reader.model, tokenizer, options.out)


def step(reader: Reader, steppers: list[torch.optim.Optimizer], batch: Batch, device: torch.device) -> dict[str, float]:
    """One optimizer step; returns its losses and accuracies."""
    with torch.autocast(device.type, torch.bfloat16):
        losses = reader(batch)
        loss = losses["cells"] if "text" not in losses else losses["text"] + CELL_WEIGHT * losses["cells"]
    loss.backward()
    nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
    for stepper in steppers:
        stepper.step()
        stepper.zero_grad(set_to_none=True)
    return {name: value.item() for name, value in losses.items()}


def set_rates(steppers: list[torch.optim.Optimizer], picture: int, options: argparse.Namespace) -> None:
    for stepper, peak in zip(steppers, (options.muon_rate, options.rate), strict=True):
        for group in stepper.param_groups:
            group["lr"] = learning_rate(picture, options.pictures, peak)


class Journal:
    """State and log on disk, so that a killed training goes on where it was saved, with the log it would have had."""

    def __init__(self, folder: Path, total: int) -> None:
        self.window: list[dict[str, float]] = []
        self._state, self._log, self._total = folder / "state.pt", folder / "log.jsonl", total

    def resume(self, reader: Reader, steppers: list[torch.optim.Optimizer]) -> int:
        """Load the last state, if there is one, and cut the log back to it; returns the pictures seen."""
        if not self._state.exists():
            self._log.unlink(missing_ok=True)
            return 0
        state = torch.load(self._state, weights_only=True)
        reader.load_state_dict(state["reader"])
        for stepper, saved in zip(steppers, state["steppers"], strict=True):
            stepper.load_state_dict(saved)
        pictures: int = state["pictures"]
        kept = [line for line in self._log.read_text().splitlines() if json.loads(line)["pictures"] <= pictures]
        self._log.write_text("".join(line + "\n" for line in kept))
        return pictures

    def log(self, pictures: int, pictures_per_s: float) -> None:
        """Append the window's means, print them with the minutes left, and begin a new window."""
        names = {name for entry in self.window for name in entry}
        means = {name: fmean(entry[name] for entry in self.window if name in entry) for name in sorted(names)}
        stage = stage_at(curriculum(self._total), pictures - 1).name
        entry = {"pictures": pictures, "stage": stage, **{name: round(mean, 4) for name, mean in means.items()}}
        with self._log.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        left_min = (self._total - pictures) / pictures_per_s / 60
        print(
            json.dumps({**entry, "pictures_per_s": round(pictures_per_s, 1), "minutes_left": round(left_min)}),
            flush=True,
        )
        self.window = []

    def save(self, pictures: int, reader: Reader, steppers: list[torch.optim.Optimizer]) -> None:
        """Atomically: a kill while saving leaves the previous state."""
        partial = self._state.with_suffix(".partial")
        state = {"pictures": pictures, "reader": reader.state_dict(), "steppers": [s.state_dict() for s in steppers]}
        torch.save(state, partial)
        partial.replace(self._state)


def export(model: Glm46VForConditionalGeneration, tokenizer: Any, folder: Path) -> None:
    """Write a checkpoint that transformers loads, weights in bfloat16."""
    import copy

    copy.deepcopy(model).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m demo.train", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--pictures", type=int, default=56_000, help="pictures to train on in all (default %(default)s)"
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak AdamW learning rate")
    parser.add_argument("--muon-rate", type=float, default=2e-3, help="peak Muon learning rate")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("build/train"), help="state, log and the newest checkpoint")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the finished checkpoint goes")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
