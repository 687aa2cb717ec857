"""Load a checkpoint: device, dtype and quantization from settings, and what came of it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
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
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from deployments.checkpoints import in_short
from deployments.contract import CELL
from deployments.model import generation, quantizing, soundness
from deployments.model.arithmetic import quickest_dtype
from deployments.model.checkpoint import (
    CONFIG,
    PROCESSORS,
    TEMPLATE,
    TOKENIZER,
    TOKENIZER_CONFIG,
    check_family,
    inspect,
    local_folder,
)
from deployments.model.faults import is_device_fault, is_out_of_memory
from deployments.model.generation import GENERATION
from deployments.model.pixels import PatchLayout
from deployments.model.prompt import IMAGE_TOKEN, PromptWriter
from deployments.model.settings import CheckpointError, Device, Dtype, ModelSettings, Quantization

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to generate, in evaluation mode on its device, with all that is needed to talk to it.

    ``published`` is the checkpoint's own generation config; the model's says where answers end, and no more.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    processor: Any
    layout: PatchLayout
    eos_token_ids: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype
    quantization: Quantization
    published: GenerationConfig

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
        self.published.to_json_file(folder / GENERATION)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a checkpoint comes from: its ``folder``, or None and a repository on the hub."""

    checkpoint: str
    folder: Path | None
    revision: str | None

    @property
    def keywords(self) -> dict[str, Any]:
        return {"revision": self.revision, "local_files_only": self.folder is not None}


def load(settings: ModelSettings) -> Loaded:
    """Load what ``settings`` name. Raises CheckpointError with the file and what to do about it."""
    inspect(settings.checkpoint)
    folder = local_folder(settings.checkpoint)
    source = _Source(str(folder or settings.checkpoint), folder, settings.revision)
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    config = _config(source, settings.quantization)
    tokenizer, processor = _tokenizer(source), _processor(source)
    model = _model(source, config, settings.quantization, device, dtype)
    with reading(GENERATION, source.checkpoint):
        eos_token_ids, published = _eos_token_ids(model), model.generation_config
        model.generation_config = _ending(published, eos_token_ids, source.checkpoint)
    loaded = Loaded(
        model=model,
        tokenizer=tokenizer,
        processor=processor,
        layout=_layout(processor),
        eos_token_ids=eos_token_ids,
        device=device,
        dtype=dtype,
        quantization=settings.quantization,
        published=published,
    )
    with reading(f"{TEMPLATE} and {TOKENIZER}", source.checkpoint):
        _check_prompts(loaded)
    return loaded


def _config(source: _Source, quantization: Quantization) -> PreTrainedConfig:
    with reading(CONFIG, source.checkpoint):
        config = AutoConfig.from_pretrained(source.checkpoint, **source.keywords)
        check_family(config.model_type, source.checkpoint)
        quantizing.check_stored(config, quantization, source.checkpoint)
        if source.folder is not None:
            soundness.check_size(config, source.checkpoint, source.folder)
    return config


def _tokenizer(source: _Source) -> PreTrainedTokenizerBase:
    with reading(f"{TOKENIZER} and {TOKENIZER_CONFIG}", source.checkpoint):
        return AutoTokenizer.from_pretrained(source.checkpoint, **source.keywords)


def _processor(source: _Source) -> Any:
    with reading(PROCESSORS[0], source.checkpoint):
        processor = AutoImageProcessor.from_pretrained(source.checkpoint, backend="pil", **source.keywords)
        _layout(processor)
        return processor


def _model(
    source: _Source, config: PreTrainedConfig, quantization: Quantization, device: torch.device, dtype: torch.dtype
) -> PreTrainedModel:
    """In evaluation mode, all its weights there and all of them numbers."""
    keywords = source.keywords
    if quantization == "nf4" and not quantizing.stored(config):
        keywords["quantization_config"] = quantizing.recipe(dtype)  # one of None would undo a stored one
    with reading(f"weights by {CONFIG}", source.checkpoint):
        model, report = AutoModelForImageTextToText.from_pretrained(
            source.checkpoint,
            dtype=dtype,
            device_map={"": device},
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told by the report, with their shapes
            **keywords,
        )
        soundness.check_complete(report, source.checkpoint)
        quantizing.finish(model, dtype)
        soundness.check_values(model, source.checkpoint)
    return model.eval()


AS_PUBLISHED = "Take all files of the checkpoint as they were published, and download again what was changed"
OF_THE_HUB = (
    "It was taken for the name of a repository on the Hugging Face hub: a folder begins with / or ./, and a repository "
    "has to be within reach or in this node's cache"
)


@contextmanager
def reading(part: str, checkpoint: str) -> Iterator[None]:
    """Libraries fail in many ways on files that are not what they should be: each becomes one error that names them."""
    try:
        yield
    except CheckpointError as fault:
        if checkpoint in str(fault):
            raise
        raise CheckpointError(f"checkpoint {checkpoint}, {part}: {fault}. {AS_PUBLISHED}") from fault
    except BaseException as fault:  # the panics of tokenizers are no Exceptions
        if is_device_fault(fault) or isinstance(fault, KeyboardInterrupt | SystemExit):
            raise
        if is_out_of_memory(fault):
            raise CheckpointError(
                f"checkpoint {checkpoint} does not fit into memory: {in_short(fault)}. Set args.model.quantization: "
                "nf4, or give the replica more memory"
            ) from fault
        hint = OF_THE_HUB if local_folder(checkpoint) is None else AS_PUBLISHED
        raise CheckpointError(f"cannot load {part} of checkpoint {checkpoint} ({in_short(fault)}). {hint}") from fault


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
    """bfloat16 on a GPU, and the faster one on a CPU, unless told; never float16, in which the text model overflows."""
    if wanted == "auto":
        return torch.bfloat16 if device.type == "cuda" else quickest_dtype()
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
    ids = tuple(int(token) for token in (eos if isinstance(eos, list | tuple) else (eos,)))
    if not ids or not all(0 <= token < _vocabulary(model) for token in ids):
        raise CheckpointError(f"eos_token_id {eos} names no tokens of the model: no answer would ever end there")
    return ids


def _ending(published: GenerationConfig, eos_token_ids: tuple[int, ...], checkpoint: str) -> GenerationConfig:
    """What of a checkpoint's generation config is in force; the rest is told, or refused."""
    fields = published.to_dict()
    generation.check(fields, checkpoint)
    if ignored := generation.not_in_force(fields):
        logger.warning(
            "checkpoint %s: not in force of its %s: %s; answers are decoded as the model's knobs say, with beams or "
            "greedily", checkpoint, GENERATION, generation.told(ignored),
        )  # fmt: skip
    return GenerationConfig(eos_token_id=list(eos_token_ids), pad_token_id=eos_token_ids[0])


def _vocabulary(model: PreTrainedModel) -> int:
    """How many tokens the model embeds."""
    return int(model.get_input_embeddings().num_embeddings)


def _check_prompts(loaded: Loaded) -> None:
    """Raises CheckpointError unless the template shows picture and question to the model, in tokens that it knows."""
    highest = max(loaded.tokenizer.get_vocab().values())
    if highest >= _vocabulary(loaded.model):
        raise CheckpointError(
            f"tokens go up to {highest}, and the weights embed {_vocabulary(loaded.model)}: they are of two models"
        )
    image_token_id = loaded.model.config.image_token_id
    writer = PromptWriter(loaded.tokenizer, image_token_id)
    asked, other = writer.write("1", [1]), writer.write("2", [1])
    if asked.image_tokens != 1:
        raise CheckpointError(
            f"image_token_id {image_token_id} of {CONFIG} is not {IMAGE_TOKEN} of the tokenizer: they are of two models"
        )
    if asked.input_ids.tolist() == other.input_ids.tolist():
        raise CheckpointError("the chat template leaves the question out")
