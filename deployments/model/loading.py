"""Load a checkpoint: device, dtype and quantization from settings, and what came of it."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from deployments.checkpoints import in_short
from deployments.contract import Pixels
from deployments.model import generation, quantizing, soundness
from deployments.model.arithmetic import quickest_dtype
from deployments.model.checkpoint import CONFIG, inspect, local_folder
from deployments.model.families.family import Family, Kind, Layout, Source
from deployments.model.families.registry import kind_of
from deployments.model.faults import is_device_fault, is_out_of_memory
from deployments.model.generation import GENERATION
from deployments.model.prompt import Prompt, Writer
from deployments.model.settings import CheckpointError, Device, Dtype, ModelSettings, Quantization

logger = logging.getLogger("ray.serve")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to generate, in evaluation mode on its device, with all that is needed to talk to it.

    ``beside`` is what is saved beside model and tokenizer. ``published`` is the checkpoint's own generation config; the
    model's says where answers end, and no more.
    """

    kind: Kind
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    beside: tuple[Any, ...]
    layout: Layout
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

    def writer(self, system_prompt: str = "", enable_thinking: bool = False) -> Writer:
        return self.kind.writer(self.model.config, self.tokenizer, system_prompt, enable_thinking)

    def inputs(self, prompt: Prompt, pictures: Sequence[Pixels]) -> dict[str, torch.Tensor]:
        """What the model's own ``generate`` takes, on its device."""
        return self.kind.inputs(self.model, self.layout, prompt, pictures)

    def take_apart(self) -> Family:
        return self.kind.take_apart(self.model, self.layout)

    def save(self, folder: Path) -> None:
        """Write all that ``load`` needs. With NF4 only before the first forward: that one repacks the weights."""
        for part in (self.model, self.tokenizer, *self.beside):
            part.save_pretrained(folder)
        self.published.to_json_file(folder / GENERATION)


def load(settings: ModelSettings) -> Loaded:
    """Load what ``settings`` name. Raises CheckpointError with the file and what to do about it."""
    inspect(settings.checkpoint)
    folder = local_folder(settings.checkpoint)
    source = Source(str(folder or settings.checkpoint), folder, settings.revision)
    device = resolve_device(settings.device)
    dtype = resolve_dtype(settings.dtype, device)
    kind, config = _config(source, settings.quantization)
    with reading(kind.files["tokenizer"], source.checkpoint):
        tokenizer = kind.tokenizer(source)
    with reading(kind.files["layout"], source.checkpoint):
        layout, beside = kind.layout(source, config)
    model = _model(source, kind, config, settings.quantization, device, dtype)
    with reading(GENERATION, source.checkpoint):
        eos_token_ids, published = _eos_token_ids(model), model.generation_config
        model.generation_config = _ending(published, eos_token_ids, source.checkpoint)
    loaded = Loaded(
        kind=kind,
        model=model,
        tokenizer=tokenizer,
        beside=beside,
        layout=layout,
        eos_token_ids=eos_token_ids,
        device=device,
        dtype=dtype,
        quantization=settings.quantization,
        published=published,
    )
    with reading(kind.files["prompt"], source.checkpoint):
        _check_prompts(loaded)
    return loaded


def _config(source: Source, quantization: Quantization) -> tuple[Kind, PreTrainedConfig]:
    with reading(CONFIG, source.checkpoint):
        fields = PreTrainedConfig.get_config_dict(source.checkpoint, **source.keywords)[0]
        kind = kind_of(fields, source.checkpoint)
        config = kind.config(source)
        quantizing.check_stored(config, kind, quantization, source.checkpoint)
        if source.folder is not None:
            soundness.check_size(kind, config, source.checkpoint, source.folder)
    return kind, config


def _model(
    source: Source,
    kind: Kind,
    config: PreTrainedConfig,
    quantization: Quantization,
    device: torch.device,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """In evaluation mode, all its weights there and all of them numbers."""
    keywords = source.keywords
    if quantization != "none" and not quantizing.stored(config, kind):  # a recipe of None would undo a stored one
        keywords["quantization_config"] = quantizing.recipe(dtype, quantizing.kept(kind, quantization))
    with reading(f"weights by {CONFIG}", source.checkpoint):
        model, report = kind.model_class.from_pretrained(
            source.checkpoint,
            config=config,
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
    loaded.kind.check_tokens(loaded.model.config, loaded.tokenizer)
    writer, shown = loaded.writer(), loaded.layout.view.tokens or 1
    asked, other = writer.write("1", [shown]), writer.write("2", [shown])
    if asked.image_tokens != shown:
        raise CheckpointError(f"a prompt with a picture of {shown} tokens has {asked.image_tokens} of them")
    if asked.input_ids.tolist() == other.input_ids.tolist():
        raise CheckpointError("the chat template leaves the question out")
