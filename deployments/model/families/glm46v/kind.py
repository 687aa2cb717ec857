"""How checkpoints of GLM-4.1V and GLM-4.6V are read and asked: by transformers' own classes, and their template."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from deployments.checkpoints import CheckpointError
from deployments.contract import CELL, Pixels
from deployments.model.families.family import Kind, Source
from deployments.model.families.glm46v.adapter import Glm
from deployments.model.families.glm46v.files import PROCESSORS, TEMPLATE, TOKENIZER, TOKENIZER_CONFIG
from deployments.model.pixels import PatchLayout, patchify
from deployments.model.prompt import IMAGE_TOKEN, Prompt, PromptWriter


class Glm46V:
    files: Mapping[str, str] = {  # never written to
        "tokenizer": f"{TOKENIZER} and {TOKENIZER_CONFIG}",
        "layout": PROCESSORS[0],
        "prompt": f"{TEMPLATE} and {TOKENIZER}",
    }
    model_class: Any = AutoModelForImageTextToText
    tower, head = "model.visual", "lm_head"

    def config(self, source: Source) -> PreTrainedConfig:
        return AutoConfig.from_pretrained(source.checkpoint, **source.keywords)

    def tokenizer(self, source: Source) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(source.checkpoint, **source.keywords)

    def layout(self, source: Source, _: PreTrainedConfig) -> tuple[PatchLayout, tuple[Any, ...]]:
        processor: Any = AutoImageProcessor.from_pretrained(source.checkpoint, backend="pil", **source.keywords)
        return layout_of(processor), (processor,)

    def blank(self, config: PreTrainedConfig, dtype: torch.dtype | None) -> PreTrainedModel:
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config, dtype=dtype)
        return model

    def facts(self, config: Any) -> dict[str, str]:
        text = config.text_config
        return {"rotary positions": str(text.rope_parameters), "positions known": str(text.max_position_embeddings)}

    def check_tokens(self, config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
        if tokenizer.convert_tokens_to_ids(IMAGE_TOKEN) != config.image_token_id:
            raise CheckpointError(
                f"image_token_id {config.image_token_id} of config.json is not {IMAGE_TOKEN} of the tokenizer: "
                "they are of two models"
            )

    def writer(
        self, config: Any, tokenizer: PreTrainedTokenizerBase, system_prompt: str, enable_thinking: bool
    ) -> PromptWriter:
        return PromptWriter(tokenizer, config.image_token_id, system_prompt, enable_thinking)

    def inputs(
        self, model: PreTrainedModel, layout: PatchLayout, prompt: Prompt, pictures: Sequence[Pixels]
    ) -> dict[str, torch.Tensor]:
        inputs = {
            "input_ids": prompt.input_ids.to(model.device),
            "attention_mask": torch.ones_like(prompt.input_ids, device=model.device),
        }
        if pictures:
            inputs["mm_token_type_ids"] = prompt.mm_token_type_ids.to(model.device)
            inputs["pixel_values"], inputs["image_grid_thw"] = patchify(pictures, layout, model.device)
        return inputs

    def take_apart(self, model: PreTrainedModel, layout: PatchLayout) -> Glm:
        return Glm(model, layout)


def layout_of(processor: Any) -> PatchLayout:
    """Raises CheckpointError for one that cuts pictures otherwise than they are prepared."""
    layout = PatchLayout(
        patch_size=processor.patch_size,
        temporal_patch_size=processor.temporal_patch_size,
        merge_size=processor.merge_size,
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
        rescale_factor=processor.rescale_factor,
    )
    if layout.cell != CELL:
        raise CheckpointError(
            f"the checkpoint's visual tokens see {layout.cell} px, the preprocessor prepares for {CELL}"
        )
    return layout


KIND: Kind = Glm46V()
