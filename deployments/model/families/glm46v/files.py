"""What a folder of GLM-4.1V or GLM-4.6V must hold, told without torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from deployments.checkpoints import AGAIN, CheckpointError, is_there, read_json, read_text
from deployments.contract import ANY_SIZE, View

MODEL_TYPES = ("glm4v", "glm46v")
TITLE = ", ".join(MODEL_TYPES)

TEMPLATE = "chat_template.jinja"
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""How pictures are normalised and cut into patches: the one or the other, depending on who saved it."""
OPTIONAL = (TOKENIZER_CONFIG, *PROCESSORS, "special_tokens_map.json", "added_tokens.json")


class _Generation(Extension):
    """``{% generation %}``, which transformers' templates may hold and plain Jinja does not know."""

    tags = {"generation"}  # noqa: RUF012  # as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def is_of(config: Mapping[str, Any]) -> bool:
    return config.get("model_type") in MODEL_TYPES


def view(_: Mapping[str, Any]) -> View:
    """Pictures of any size, large ones in parts."""
    return ANY_SIZE


def positions(config: Mapping[str, Any]) -> int | None:
    text = config.get("text_config")
    found = (text if isinstance(text, Mapping) else config).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def inspect(folder: Path, _: Mapping[str, Any]) -> None:
    """Raises CheckpointError with the file and what to do."""
    read_json(folder / TOKENIZER)
    for name in OPTIONAL:
        if is_there(folder / name):
            read_json(folder / name)
    if not any(is_there(folder / name) for name in PROCESSORS):
        raise CheckpointError(f"{folder / PROCESSORS[0]} is missing: {AGAIN}")
    _check_template(folder)


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
