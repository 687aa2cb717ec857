"""What must fit into the rows of the engine: pictures, questions, answers, beams."""

from collections.abc import Iterator, Sequence
from typing import Any

from deployments.checkpoints import CheckpointError
from deployments.contract import ANY_SIZE, CELL, View
from deployments.model.families.registry import entry_of
from deployments.preprocess import tiling
from deployments.preprocess.settings import PreprocessKnobs
from deployments.preprocess.tiling import TileBudget
from serve_app.check.paths import config_of
from serve_app.check.problems import Problem
from serve_app.check.view import App, contradiction

INTRODUCTION_TOKENS = 9
"""Of each part of a large picture: where it belongs, and the marks around it (counted on GLM's template)."""
TEMPLATE_TOKENS = 16
SHORT_QUESTION_TOKENS = 64

PICTURE_KEYS = ("longest_edge", "tile_edge", "max_tiles", "tiles_above_edge", "max_image_tokens", "min_pixels")


def budget(app: App) -> TileBudget:
    """What of a picture the model may see. Raises Unsound if one of its knobs is at fault."""
    return asked_for(app).viewed(view(app))


def asked_for(app: App) -> TileBudget:
    """The same by the knobs alone, whatever the model takes."""
    return PreprocessKnobs.model_validate({key: app.preprocessor[f"user_config.{key}"] for key in PICTURE_KEYS}).budget


def view(app: App) -> View:
    """What the checkpoint's model wants to see of a picture, where its config is here to tell."""
    checkpoint = app.args["model.checkpoint"]
    try:
        config = config_of(checkpoint, app.world)
        return entry_of(config, checkpoint).view(config)
    except CheckpointError:  # none here, or one that is told elsewhere
        return ANY_SIZE


def costliest(seen: TileBudget) -> tuple[tuple[int, int], Sequence[tiling.Part]]:
    """(width, height) of a picture that takes most tokens, and its parts: for each grid one that fills its tiles."""
    most, overlap = seen.max_tiles, seen.overlap
    grids = [(rows, columns) for rows in range(1, most + 1) for columns in range(1, most // rows + 1)]
    shapes = [(c - (c - 1) * overlap, r - (r - 1) * overlap) for r, c in grids if 2 * r * c > most] or [(1.0, 1.0)]
    sides = [max(seen.tile_edge, (seen.tiles_above_edge + 1) / max(shape)) for shape in shapes]
    sizes = [(round(wide * side), round(tall * side)) for (wide, tall), side in zip(shapes, sides, strict=True)]
    sizes.append((seen.longest_edge, seen.longest_edge))
    plans = [(size, tiling.plan(*size, seen)) for size in sizes]
    return max(plans, key=lambda plan: sum(part.tokens for part in plan[1]))


def row_rules(app: App) -> Iterator[Problem]:
    """The largest picture, a short question and an answer against the length of a row."""
    if app.args["model.engine"] != "rows":
        return
    (width, height), parts = costliest(budget(app))
    visual, length = sum(part.tokens for part in parts), app.args["model.rows.length"]
    system = len(app.model["user_config.system_prompt"])
    prompt = visual + INTRODUCTION_TOKENS * len(parts) + TEMPLATE_TOKENS + system + SHORT_QUESTION_TOKENS
    answer = app.model["user_config.default_max_new_tokens"]
    told = f"a picture of {width} x {height} takes {visual} visual tokens in {len(parts)} parts, and a row has {length}"
    remedy = "lower max_tiles, the edges or max_image_tokens of the Preprocessor, or raise args.model.rows.length"
    places = [(app.args, "model.rows.length")]
    places += [(app.preprocessor, f"user_config.{key}") for key in PICTURE_KEYS]
    places += [(app.model, "user_config.system_prompt"), (app.model, "user_config.default_max_new_tokens")]
    if prompt >= length:
        text = f"{told} for picture, question and answer: whoever sends one is refused (question_too_long): {remedy}"
        yield from contradiction(places, text, warning=False)
    elif prompt + answer > length:
        left = length - prompt
        yield from contradiction(
            places,
            f"{told}: a short question about one leaves {left} tokens for its answer, which ends before "
            f"default_max_new_tokens: {answer}: {remedy}",
        )


def position_rules(app: App) -> Iterator[Problem]:
    """The length of a row against the positions that the checkpoint knows."""
    length, checkpoint = app.args["model.rows.length"], app.args["model.checkpoint"]
    known = _positions(config_of(checkpoint, app.world))
    if app.args["model.engine"] == "rows" and known is not None and length > known:
        message = f"{checkpoint} knows {known} positions: what is said beyond them is nonsense"
        places = [(app.args, "model.rows.length"), (app.args, "model.checkpoint")]
        yield from contradiction(places, message)


def _positions(config: dict[str, Any]) -> int | None:
    try:
        return entry_of(config, "").positions(config)
    except CheckpointError:
        return None


def answer_rules(app: App) -> Iterator[Problem]:
    """Texts alone against the length of a row."""
    if app.args["model.engine"] != "rows":
        return
    length = app.args["model.rows.length"]
    most, chars = app.model["user_config.max_new_tokens"], app.ingress["user_config.max_question_chars"]
    if most >= length:
        text = f"a row of args.model.rows.length: {length} holds prompt and answer: no caller gets {most} tokens"
        yield from contradiction([(app.model, "user_config.max_new_tokens"), (app.args, "model.rows.length")], text)
    if chars >= length:
        text = (
            f"a question of {chars} characters may take more tokens than a row has (args.model.rows.length: {length}): "
            "it is refused (question_too_long)"
        )
        yield from contradiction(
            [(app.ingress, "user_config.max_question_chars"), (app.args, "model.rows.length")], text
        )


def beam_rules(app: App) -> Iterator[Problem]:
    rows, width = app.args["model.rows.rows"], app.model["user_config.beam_width"]
    if app.args["model.engine"] == "rows" and app.model["user_config.level"] == "full" and width > rows:
        text = f"a beam search holds a row for each beam, and args.model.rows.rows is {rows}: it searches {rows} wide"
        yield from contradiction([(app.model, "user_config.beam_width"), (app.args, "model.rows.rows")], text)


def tile_rules(app: App) -> Iterator[Problem]:
    """Knobs of tiles that undo one another."""
    seen = asked_for(app)
    if not view(app).tiles:
        if seen.max_tiles >= 2:
            text = "this model sees one picture a conversation, the whole one: it is shown no tiles (0 says so)"
            yield from contradiction([(app.preprocessor, "user_config.max_tiles")], text)
        return
    overview = seen.longest_edge // CELL
    keys = [(app.preprocessor, f"user_config.{key}") for key in ("max_image_tokens", "longest_edge")]
    if overview**2 > seen.max_tokens:
        text = (
            f"a square picture takes {overview**2} visual tokens at longest_edge: {seen.longest_edge}, more than "
            f"max_image_tokens: {seen.max_tokens}: the bound holds for tiles only, and none are cut"
        )
        yield from contradiction(keys, text)
    if seen.max_tiles >= 2 and seen.tiles_above_edge < seen.longest_edge:
        text = (
            f"less than longest_edge: {seen.longest_edge}: pictures in between are shown whole at their own size "
            "and once more in tiles, which show nothing new"
        )
        yield from contradiction([(app.preprocessor, "user_config.tiles_above_edge")], text)


RULES = (row_rules, position_rules, answer_rules, beam_rules, tile_rules)
