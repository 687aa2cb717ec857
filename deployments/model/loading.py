"""Load a checkpoint: device, dtype and quantization from settings, and what came of it."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from deployments.contract import CELL
from deployments.model import quantizing
from deployments.model.pixels import PatchLayout
from deployments.model.settings import CheckpointError, Device, Dtype, ModelSettings, Quantization

FAMILIES = ("glm4v", "glm46v")
"""Values of ``config.model_type`` that this package knows how to prompt and embed."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to generate, in evaluation mode on its device, with all that is needed to talk to it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    processor: Any
    layout: PatchLayout
    eos_token_ids: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype
    quantization: Quantization

    @property
    def parameters(self) -> int:
        return int(self.model.num_parameters())

    @property
    def memory_mb(self) -> int:
        """Bytes of weights and buffers, in MiB."""
        return int(self.model.get_memory_footprint()) // 2**20

    def fingerprint(self) -> str:
        """A digest of the beginning of every weight: a checkpoint that was trained further has another one."""
        hashed = sha256()
        for name, weight in self.model.named_parameters():
            start = weight.detach().reshape(-1)[:64].cpu().contiguous()
            hashed.update(name.encode() + start.view(torch.uint8).numpy().tobytes())
        return hashed.hexdigest()

    def save(self, folder: Path) -> None:
        """Write all that ``load`` needs. With NF4 only before the first forward: that one repacks the weights."""
        for part in (self.model, self.tokenizer, self.processor):
            part.save_pretrained(folder)


def load(settings: ModelSettings) -> Loaded:
    """Load what ``settings`` name. Raises CheckpointError with what to do about it."""
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    checkpoint = _existing(settings.checkpoint)
    keywords: dict[str, Any] = {"revision": settings.revision, "local_files_only": Path(checkpoint).is_dir()}
    try:
        config = AutoConfig.from_pretrained(checkpoint, **keywords)
        _check_family(config.model_type, checkpoint)
        quantizing.check_stored(config, settings.quantization, checkpoint)
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **keywords)
        processor = AutoImageProcessor.from_pretrained(checkpoint, backend="pil", **keywords)
        if settings.quantization == "nf4" and not quantizing.stored(config):
            keywords["quantization_config"] = quantizing.recipe(dtype)  # one of None would undo a stored one
        model, report = AutoModelForImageTextToText.from_pretrained(
            checkpoint, dtype=dtype, device_map={"": device}, output_loading_info=True, **keywords
        )
    except (OSError, ValueError, ImportError, KeyError) as fault:
        raise CheckpointError(f"cannot load checkpoint {settings.checkpoint}: {fault}") from fault
    _check_complete(report, checkpoint)
    quantizing.finish(model, dtype)
    return Loaded(
        model=model.eval(),
        tokenizer=tokenizer,
        processor=processor,
        layout=_layout(processor),
        eos_token_ids=_eos_token_ids(model),
        device=device,
        dtype=dtype,
        quantization=settings.quantization,
    )


def resolve_device(wanted: Device) -> torch.device:
    """The torch device to use. Raises CheckpointError when a GPU is demanded and torch sees none."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise CheckpointError(
            "device: cuda, but torch sees no GPU here: give the replica num_gpus, or set device: auto"
        )
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(wanted)


def resolve_dtype(wanted: Dtype, device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU and float32 on the CPU unless told; never float16, in which the GLM text model overflows."""
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def banner(loaded: Loaded, settings: ModelSettings) -> str:
    """One line for the log: what serves, in which precision, where, and how much memory it holds."""
    dtype = str(loaded.dtype).removeprefix("torch.")
    return (
        f"model {settings.name} ({settings.checkpoint}): {loaded.parameters / 1e6:.1f} M parameters, dtype {dtype}, "
        f"quantization {loaded.quantization}, device {loaded.device}, weights {loaded.memory_mb} MB, "
        f"engine {settings.engine}"
    )


def gpu_memory_mb(device: torch.device) -> int:
    """MiB that torch's allocator holds on the device; 0 on the CPU."""
    return int(torch.cuda.memory_reserved(device)) // 2**20 if device.type == "cuda" else 0


def _existing(checkpoint: str) -> str:
    """The folder, checked, or a hub repository's name as it is."""
    if not checkpoint.startswith(("/", "./", "../", "~")):
        return checkpoint
    folder = Path(checkpoint).expanduser()
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "does not exist"
        raise CheckpointError(
            f"checkpoint folder {checkpoint} {what}: set args.model.checkpoint to a downloaded checkpoint's folder, "
            "readable on every node, or to a repository on the Hugging Face hub"
        )
    return str(folder)


def _check_family(model_type: str, checkpoint: str) -> None:
    if model_type not in FAMILIES:
        raise CheckpointError(f"checkpoint {checkpoint} is of type {model_type!r}; supported: {', '.join(FAMILIES)}")


def _check_complete(report: dict[str, Any], checkpoint: str) -> None:
    """Weights that are not there, or of another shape, would be random ones."""
    wrong = sorted({str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind]})
    if wrong:
        raise CheckpointError(f"checkpoint {checkpoint} lacks {len(wrong)} weights of its config, such as {wrong[0]}")


def _layout(processor: Any) -> PatchLayout:
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


def _eos_token_ids(model: PreTrainedModel) -> tuple[int, ...]:
    """Every id that ends an answer: GLM has three or four, and stopping at one alone runs on into the next turn."""
    eos = model.generation_config.eos_token_id
    if eos is None:
        eos = model.config.get_text_config().eos_token_id
    if eos is None:
        raise CheckpointError("the checkpoint names no eos_token_id: add it to generation_config.json")
    return tuple(eos) if isinstance(eos, list | tuple) else (int(eos),)
