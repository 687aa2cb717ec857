"""A batch whose steps the test takes, and questions for it."""

import time
from dataclasses import replace
from itertools import count

import torch

from deployments.model.rows.batch import Batch
from deployments.model.rows.engine import begun
from deployments.model.rows.sight import Seen
from deployments.model.settings import RowSettings

from .asking import picture, request_to

SETTINGS = RowSettings(rows=8, length=192)


class Stepped:
    """A batch whose steps the test takes, with an engine's ``submit``."""

    def __init__(self, loaded, settings, clock=time.time):
        self.loaded, self.settings, self.ids = loaded, settings, count()
        self.family, self.took_s = loaded.take_apart(), 0.0
        self.batch = Batch(loaded, self.family, settings, clock, self.look)

    def look(self, key, picture):
        """At once, where an engine has a thread for it."""
        self.batch.take(Seen(key, self.family.features([picture])[0], self.took_s))

    def submit(self, request):
        sequence = begun(next(self.ids), request, self.loaded, self.settings)
        self.batch.add(sequence)
        return sequence.future

    def step(self, times=1):
        """So many steps, as long as there is anything to do."""
        with torch.inference_mode():
            for _ in range(times):
                if any(self.batch.load()):
                    self.batch.step()

    def run(self):
        self.step(10_000)


def all_rows_are_free(engine):
    return engine.batch.free == SETTINGS.rows and engine.batch.load() == (0, 0)


def replace_settings(**changes):
    return SETTINGS.model_copy(update=changes)


def question(loaded, which, **decoding):
    shown = (picture(which),) if which % 3 else ()
    return request_to(loaded, f"question number {which}", shown, **decoding)


def greedy_from(loaded, alone, request, prefix):
    """What generate continues with after the prompt and these tokens."""
    prompt, ids = request.prompt, torch.tensor([prefix])
    longer = replace(
        prompt,
        input_ids=torch.cat([prompt.input_ids, ids], 1),
        mm_token_type_ids=torch.cat([prompt.mm_token_type_ids, torch.zeros_like(ids)], 1),
    )
    decoding = replace(request.decoding, beam_width=1, max_new_tokens=request.decoding.max_new_tokens - len(prefix))
    return prefix + alone(loaded, replace(request, prompt=longer, decoding=decoding)).token_ids
