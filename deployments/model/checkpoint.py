"""Whether a folder can be a checkpoint that this package serves, told from its files alone, without torch."""

from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deployments.checkpoints import AGAIN, CheckpointError, check_folder, is_there, read_json, read_text, read_weights
from deployments.model import generation
from deployments.model.generation import GENERATION

FAMILIES = ("glm4v", "glm46v")
"""Values of ``config.model_type`` that this package knows how to prompt and embed."""

CONFIG, TEMPLATE = "config.json", "chat_template.jinja"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""How pictures are normalised and cut into patches: the one or the other, depending on who saved it."""
REQUIRED = (TOKENIZER,)
OPTIONAL = (GENERATION, TOKENIZER_CONFIG, *PROCESSORS, "special_tokens_map.json", "added_tokens.json")

FLOATS = ("F64", "F32", "F16", "BF16")


class _Generation(Extension):
    """``{% generation %}``, which transformers' templates may hold and plain Jinja does not know."""

    tags = {"generation"}  # noqa: RUF012  # as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def inspect(checkpoint: str | Path) -> None:
    """Look at all files of a checkpoint but the weights themselves, in milliseconds.

    Raises CheckpointError with the file and what to do. The name of a repository on the hub passes.
    """
    folder = local_folder(checkpoint)
    if folder is None:
        return
    check_folder(folder)
    config = _config(folder)
    for name in REQUIRED:
        read_json(folder / name)
    for name in OPTIONAL:
        if is_there(folder / name):
            read_json(folder / name)
    if is_there(folder / GENERATION):
        generation.check(read_json(folder / GENERATION), str(folder))
    if not any(is_there(folder / name) for name in PROCESSORS):
        raise CheckpointError(f"{folder / PROCESSORS[0]} is missing: {AGAIN}")
    _check_template(folder)
    _check_types(folder, config)


def local_folder(checkpoint: str | Path) -> Path | None:
    """Where a checkpoint lies that is a folder; None for the name of a repository on the hub."""
    path = Path(checkpoint).expanduser()
    is_path = str(checkpoint).startswith(("/", "./", "../", "~")) or path.exists()
    return path if is_path else None


def check_family(model_type: Any, checkpoint: str | Path) -> None:
    if model_type not in FAMILIES:
        raise CheckpointError(
            f"the {CONFIG} of checkpoint {checkpoint} is of type {model_type!r}; supported: {', '.join(FAMILIES)}"
        )


def _config(folder: Path) -> dict[str, Any]:
    if not is_there(folder / CONFIG):
        raise CheckpointError(
            f"checkpoint folder {folder} has no {CONFIG}: set args.model.checkpoint to a downloaded checkpoint's folder"
        )
    config = read_json(folder / CONFIG)
    check_family(config.get("model_type"), folder)
    return config


def _check_template(folder: Path) -> None:
    """The chat template that transformers would take has to be one that Jinja reads."""
    path = folder / TEMPLATE
    if is_there(path):
        _compile(read_text(path), path)
        return
    path = folder / TOKENIZER_CONFIG
    template = read_json(path).get("chat_template") if is_there(path) else None
    if not template:
        raise CheckpointError(
            f"{folder / TEMPLATE} is missing: the checkpoint needs its chat template beside its tokenizer"
        )
    named = template if isinstance(template, list) else [{"template": template}]
    for entry in named:
        _compile(entry.get("template") if isinstance(entry, dict) else None, path)


def _compile(template: Any, path: Path) -> None:
    # As transformers compiles it (utils/chat_template_utils.py)
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    try:
        environment.from_string(template)
    except (TemplateError, TypeError, AttributeError, RecursionError) as fault:
        line = f"line {lineno}: " if (lineno := getattr(fault, "lineno", None)) else ""
        raise CheckpointError(
            f"{path} holds a chat template that is no Jinja ({line}{fault}): {AGAIN}, or undo what was changed in it"
        ) from fault


def _check_types(folder: Path, config: dict[str, Any]) -> None:
    """Weights that are no floats are quantized ones, and mean nothing unless ``config.json`` says how."""
    tensors = read_weights(folder)
    if config.get("quantization_config"):
        return
    odd = {name: tensor.dtype for name, tensor in tensors.items() if _is_weight(name) and tensor.dtype not in FLOATS}
    if odd:
        name = min(odd)
        raise CheckpointError(
            f"{folder} stores {len(odd)} weights in a type that {CONFIG} says nothing of (no quantization_config), "
            f"{name} as {odd[name]}: take the checkpoint as published, or the unquantized one"
        )


def _is_weight(name: str) -> bool:
    return name.endswith((".weight", ".bias"))
