"""How checkpoints of GLM-4V-9B are read and asked: by classes of our own, from the files as they are published."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from deployments.checkpoints import AGAIN, CheckpointError
from deployments.contract import Pixels
from deployments.model.families.family import Kind, Source
from deployments.model.families.glm4v9b import tokenizer
from deployments.model.families.glm4v9b.adapter import Glm4V9B, positions_of
from deployments.model.families.glm4v9b.config import ChatGlmConfig, check_built
from deployments.model.families.glm4v9b.files import RANKS, TOKENIZER, TOKENIZER_CONFIG
from deployments.model.families.glm4v9b.modeling import ChatGlmWithVision
from deployments.model.families.glm4v9b.pixels import SquareLayout
from deployments.model.families.glm4v9b.prompt import BEGIN, END, IdWriter, check_control
from deployments.model.prompt import Prompt


class Published:
    files: Mapping[str, str] = {  # never written to
        "tokenizer": f"{RANKS} and {TOKENIZER_CONFIG}",
        "layout": "vision_config of config.json",
        "prompt": f"{RANKS} and {TOKENIZER_CONFIG}",
    }
    model_class: Any = ChatGlmWithVision
    tower, head = "transformer.vision", "transformer.output_layer"

    def config(self, source: Source) -> ChatGlmConfig:
        check_built(PreTrainedConfig.get_config_dict(source.checkpoint, **source.keywords)[0])
        config: ChatGlmConfig = ChatGlmConfig.from_pretrained(source.checkpoint, **source.keywords)
        return config

    def tokenizer(self, source: Source) -> PreTrainedTokenizerBase:
        """As it was converted before, or from the published ranks."""
        if converted := source.file(TOKENIZER):
            return tokenizer.stored(converted)
        ranks, config = source.file(RANKS), source.file(TOKENIZER_CONFIG)
        if ranks is None or config is None:
            raise CheckpointError(f"{RANKS if ranks is None else TOKENIZER_CONFIG} is missing: {AGAIN}")
        return tokenizer.published(ranks, config)

    def layout(self, _: Source, config: Any) -> tuple[SquareLayout, tuple[Any, ...]]:
        return SquareLayout.of(config.eyes), ()

    def blank(self, config: Any, dtype: torch.dtype | None) -> PreTrainedModel:
        model: PreTrainedModel = ChatGlmWithVision._from_config(config, dtype=dtype)
        return model

    def facts(self, config: Any) -> dict[str, str]:
        eyes = config.eyes
        return {
            "rope_ratio": f"{config.rope_ratio:g}, so the rotary base is {config.rope_theta:g}",
            "vision_config.scaling_factor": f"{eyes.scaling_factor:g}",
            "positions known": str(config.seq_length),
            "a picture": f"{eyes.image_size} x {eyes.image_size} pixels, {eyes.tokens} tokens",
        }

    def check_tokens(self, config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        check_control(tokenizer)
        for name, token in (("boi_token_id", BEGIN), ("eoi_token_id", END)):
            if (told := getattr(config, name)) != tokenizer.convert_tokens_to_ids(token):
                raise CheckpointError(
                    f"{name} {told} of config.json is not {token} of the tokenizer: they are of two models"
                )

    def writer(self, _: Any, tokenizer: PreTrainedTokenizerBase, system_prompt: str, enable_thinking: bool) -> IdWriter:
        return IdWriter(tokenizer, system_prompt)

    def inputs(
        self, model: Any, layout: SquareLayout, prompt: Prompt, pictures: Sequence[Pixels]
    ) -> dict[str, torch.Tensor]:
        family, ids = self.take_apart(model, layout), prompt.input_ids.to(model.device)
        return {
            "input_ids": ids,
            "inputs_embeds": family.embed(ids[0], family.features(pictures) if pictures else ())[None],
            "position_ids": positions_of(prompt)[None].to(model.device),
            "attention_mask": torch.ones_like(ids),
        }

    def take_apart(self, model: Any, layout: SquareLayout) -> Glm4V9B:
        return Glm4V9B(model, layout)


KIND: Kind = Published()
