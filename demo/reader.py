"""The model in training: with the heads that teach it to read, and made fast for batches of equal pictures.

transformers' vision tower runs two convolutions that are plain matrix products and attends to one picture at a time.
Here they are products, equal pictures attend in one batch, and the blocks are compiled: the same results (held against
the untouched model's in ``tests/demo/test_train.py``), much sooner.
"""

from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AttentionInterface, Glm46VForConditionalGeneration

from demo.lessons import IGNORED, SUBCOLUMNS, Batch, attention_mask
from deployments.model.pixels import PatchLayout, patchify

EQUAL_LENGTHS = "flash_equal_lengths"
"""transformers hands the whole batch, uncut, to attentions with "flash" in their name."""

POINTER_SIZE = 64
NOTHING_WEIGHT = 0.2
"""Most quarter columns hold no centre: weigh them down, or "nothing" is all that is learnt at first."""


def attend_equal_lengths(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any,
    scaling: float, max_length_q: int, **_: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention within sequences of one length, laid end to end in (1, heads, sequences * length, head_dim)."""
    heads, tokens, width = query.shape[1:]
    shape = (heads, tokens // max_length_q, max_length_q, width)
    query, key, value = (tensor.reshape(shape).transpose(0, 1) for tensor in (query, key, value))
    mixed = F.scaled_dot_product_attention(query, key, value, scale=scaling)
    return mixed.transpose(0, 1).reshape(1, heads, tokens, width).transpose(1, 2), None


AttentionInterface.register(EQUAL_LENGTHS, attend_equal_lengths)


def as_product(conv: nn.Conv2d | nn.Conv3d) -> None:
    """Run a convolution whose kernel covers its whole input as the matrix product that it is."""

    def product(conv: nn.Conv2d | nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x.flatten(1), conv.weight.flatten(1), conv.bias)

    conv.forward = partial(product, conv)  # type: ignore[method-assign]


class Heads(nn.Module):
    """What is trained beside the model and is no part of it.

    ``cells``: each visual token names the characters in its quarter columns. ``query`` and ``key``, the pointer: where
    the model reads the next character of its answer, told before the last layer, which can then look there.
    """

    def __init__(self, hidden_size: int, vocab_size: int) -> None:
        super().__init__()
        self.cells = nn.Linear(hidden_size, vocab_size * SUBCOLUMNS)
        self.query = nn.Linear(hidden_size, POINTER_SIZE)
        self.key = nn.Linear(hidden_size, POINTER_SIZE * SUBCOLUMNS)

    def point(self, hidden: torch.Tensor, pictured: torch.Tensor) -> torch.Tensor:
        """(B, L, L * SUBCOLUMNS) scores of every quarter column for every token of ``hidden`` (B, L, hidden size)."""
        keys = self.key(hidden).unflatten(-1, (SUBCOLUMNS, POINTER_SIZE)).flatten(1, 2)
        scores: torch.Tensor = self.query(hidden) @ keys.transpose(1, 2) * POINTER_SIZE**-0.5
        nowhere = ~pictured.repeat_interleave(SUBCOLUMNS, dim=1)
        return scores.masked_fill(nowhere[:, None], -1e4)


class Reader(nn.Module):
    """The model with its heads."""

    def __init__(self, model: Glm46VForConditionalGeneration, layout: PatchLayout, compiled: bool = True) -> None:
        super().__init__()
        self.model = model
        self.layout = layout
        text = model.config.text_config
        self.heads = Heads(text.hidden_size, text.vocab_size)
        model.set_attn_implementation("sdpa")
        visual = model.model.visual
        visual.config._attn_implementation = EQUAL_LENGTHS
        as_product(visual.patch_embed.proj)
        as_product(visual.downsample)
        if compiled:
            torch._dynamo.config.recompile_limit = 64
            torch._dynamo.config.accumulated_recompile_limit = 512
            for block in (*visual.blocks, *model.model.language_model.layers):
                block.forward = torch.compile(block.forward, dynamic=False)
        model.model.language_model.layers[-1].register_forward_pre_hook(self._before_last)

    def _before_last(self, _layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self._hidden = inputs[0]

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Losses (``cells``, and if anything is asked ``text`` and ``pointer``), their accuracies, teacher-forced, and
        ``exact_FAMILY``: the share of answers of which every character is right."""
        model = self.model
        input_ids, labels, cells_wanted, positions, segments, pointers = (
            tensor.to(model.device)
            for tensor in (
                batch.input_ids, batch.labels, batch.cells, batch.positions, batch.segments, batch.pointers,
            )
        )  # fmt: skip
        features = self._features(batch)
        cells = self.heads.cells(features).view(-1, model.config.text_config.vocab_size).float()
        target = cells_wanted.view(-1)
        weight = torch.ones(cells.shape[-1], device=cells.device)
        weight[0] = NOTHING_WEIGHT
        drawn = target > 0
        result = {
            "cells": F.cross_entropy(cells, target, weight=weight, ignore_index=IGNORED),
            "cell_accuracy": (cells.argmax(-1) == target)[drawn].float().mean(),
        }
        asked = labels[:, 1:] != IGNORED
        if asked.any():
            embeddings = model.get_input_embeddings()(input_ids)
            pictured = input_ids == model.config.image_token_id
            hidden = model.model.language_model(
                inputs_embeds=embeddings.masked_scatter(pictured[..., None], features.to(embeddings.dtype)),
                position_ids=positions, attention_mask=_additive(attention_mask(segments)), use_cache=False,
            ).last_hidden_state  # fmt: skip
            logits, wanted = model.lm_head(hidden[:, :-1][asked]).float(), labels[:, 1:][asked]
            result["text"] = F.cross_entropy(logits, wanted)
            right = logits.detach().argmax(-1) == wanted
            result["text_accuracy"] = right.float().mean()
            known = pointers[:, 1:] != IGNORED
            scores, pointed = self.heads.point(self._hidden, pictured)[:, :-1][known].float(), pointers[:, 1:][known]
            result["pointer"] = F.cross_entropy(scores, pointed)
            result["pointer_accuracy"] = (scores.argmax(-1) == pointed).float().mean()
            result |= _exact(right, asked, segments[:, 1:], batch.families)
        return result

    def _features(self, batch: Batch) -> torch.Tensor:
        """(visual tokens of all pictures in their order, hidden size); pictures of one size go together."""
        groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for index, pixels in enumerate(batch.pixels):
            groups[pixels.shape].append(index)
        features: list[Any] = [None] * len(batch.pixels)
        for members in groups.values():
            values, grid = patchify([batch.pixels[index] for index in members], self.layout, self.model.device)
            output = self.model.model.visual(values, grid_thw=grid).pooler_output
            for index, part in zip(members, output.chunk(len(members)), strict=True):
                features[index] = part
        return torch.cat(features)


def _additive(mask: torch.Tensor) -> torch.Tensor:
    """0 where allowed, a large negative number elsewhere: the form of mask that the fused attention is fastest with."""
    kind = mask.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -1e9)


def _exact(
    right: torch.Tensor, asked: torch.Tensor, segments: torch.Tensor, families: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    rows = torch.arange(len(segments), device=segments.device)[:, None].expand_as(segments)[asked]
    answers = rows * 64 + segments[asked]
    wrong = set(answers[~right].tolist())
    by_family: dict[str, list[bool]] = defaultdict(list)
    for answer in sorted(set(answers.tolist())):
        by_family[families[answer // 64]].append(answer not in wrong)
    return {f"exact_{family}": torch.tensor(results).float().mean() for family, results in by_family.items()}
