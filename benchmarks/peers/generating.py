"""What the peers do with the model, as one would write it with transformers: a picture and a question in, ``generate``
on a batch padded on the left, answers out.

Pictures are shown as the service shows them: at most ``LONGEST_EDGE`` pixels long, by the service's own resizing.
The pictures of this benchmark are smaller, so that no side changes them or cuts them into tiles.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from benchmarks.peers.dialects import MAX_NEW_TOKENS
from deployments.preprocess.resize import resized, target_size

LONGEST_EDGE, MIN_PIXELS = 504, 6272
BATCH = 8
BATCH_WAIT_S = 0.01


@dataclass(frozen=True, slots=True)
class Inputs:
    """One prompt, with its picture in patches."""

    ids: torch.Tensor
    pixel_values: torch.Tensor
    grid: torch.Tensor


class Generator:
    """The checkpoint with its own image processor, tokenizer and chat template."""

    def __init__(self, checkpoint: Path, dtype: str, threads: int, beams: int = 1) -> None:
        torch.set_num_threads(threads)
        self.images = AutoImageProcessor.from_pretrained(checkpoint)
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.model = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=getattr(torch, dtype)).eval()
        self.beams = beams

    def inputs(self, data: bytes, question: str) -> Inputs:
        image = Image.open(BytesIO(data)).convert("RGB")
        pixels = resized(image, target_size(*image.size, LONGEST_EDGE, MIN_PIXELS), (0, 0, *image.size))
        patches = self.images(images=[pixels], return_tensors="pt")
        grid = patches["image_grid_thw"]
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        text = text.replace("<|image|>", "<|image|>" * int(grid.prod() // self.images.merge_size**2))
        ids = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"][0]
        return Inputs(ids, patches["pixel_values"], grid)

    @torch.inference_mode()
    def answers(self, batch: Sequence[Inputs]) -> list[str]:
        longest = max(len(one.ids) for one in batch)
        pad = self.model.generation_config.pad_token_id
        ids = torch.stack([torch.nn.functional.pad(one.ids, (longest - len(one.ids), 0), value=pad) for one in batch])
        seen = torch.stack([torch.arange(longest) >= longest - len(one.ids) for one in batch]).long()
        output = self.model.generate(
            input_ids=ids,
            attention_mask=seen,
            mm_token_type_ids=(ids == self.model.config.image_token_id).long(),
            pixel_values=torch.cat([one.pixel_values for one in batch]).to(self.model.dtype),
            image_grid_thw=torch.cat([one.grid for one in batch]),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            num_beams=self.beams,
        )
        texts = self.tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
        return [text.strip() for text in texts]


def options() -> argparse.Namespace:
    """What each of the peers' programs is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--beams", type=int, default=1)
    return parser.parse_args()
