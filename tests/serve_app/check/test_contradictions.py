"""Settings that contradict each other, or what is there: each told once, as an error or a warning, with what happens."""

from typing import Any

import pytest

from serve_app.settings import ROOT

from .changed import HERE, Imagined, full_path, problems_of

ERROR, WARNING = False, True
KNOBS, INGRESS, MODEL = "Preprocessor.user_config", "Ingress.user_config", "Model.user_config"
ROWS, CACHE = "args.model.rows", "args.ingress.cache.url"
SCALING = "Preprocessor.autoscaling_config"
KEY = {f"{INGRESS}.api_key_sha256": ["0" * 64]}
LARGE = {f"{KNOBS}.longest_edge": 1024, f"{KNOBS}.tile_edge": 1024, f"{KNOBS}.tiles_above_edge": 2000}

# Each row: what is changed, where the only problem is told, whether it is a warning, and a part of it.
CONTRADICTIONS: list[tuple[dict[str, Any], str, bool, str]] = [
    # Pictures, questions and answers against the rows.
    ({**LARGE, f"{KNOBS}.max_image_tokens": 16384}, f"{ROWS}.length", ERROR, "6480 visual tokens in 5 parts, and a row has 2048"),
    ({f"{KNOBS}.max_tiles": 9, f"{KNOBS}.max_image_tokens": 16384}, f"{ROWS}.length", ERROR, "(question_too_long)"),
    ({f"{KNOBS}.longest_edge": 2016, f"{KNOBS}.max_tiles": 0, f"{KNOBS}.max_image_tokens": 6000}, f"{ROWS}.length", ERROR, "in 1 parts"),
    ({f"{ROWS}.length": 1600, f"{INGRESS}.max_question_chars": 500}, f"{ROWS}.length", ERROR, "a row has 1600"),
    ({f"{MODEL}.default_max_new_tokens": 400}, f"{ROWS}.length", WARNING, "which ends before default_max_new_tokens: 400"),
    ({f"{MODEL}.system_prompt": "答" * 100}, f"{ROWS}.length", WARNING, "which ends before default_max_new_tokens: 256"),
    ({f"{MODEL}.max_new_tokens": 4096}, f"{MODEL}.max_new_tokens", WARNING, "no caller gets 4096 tokens"),
    ({f"{INGRESS}.max_question_chars": 4000}, f"{INGRESS}.max_question_chars", WARNING, "(question_too_long)"),
    ({f"{ROWS}.length": 16384}, f"{ROWS}.length", WARNING, "knows 8192 positions"),
    ({f"{ROWS}.rows": 3}, f"{MODEL}.beam_width", WARNING, "it searches 3 wide"),
    ({f"{MODEL}.default_max_new_tokens": 2000}, f"{MODEL}.default_max_new_tokens", ERROR, "is more than max_new_tokens: 1024"),
    ({f"{KNOBS}.max_image_tokens": 200, f"{KNOBS}.max_tiles": 0}, f"{KNOBS}.max_image_tokens", WARNING, "324 visual tokens"),
    ({f"{KNOBS}.tiles_above_edge": 300}, f"{KNOBS}.tiles_above_edge", WARNING, "show nothing new"),
    ({f"{KNOBS}.min_pixels": 300000}, f"{KNOBS}.longest_edge", ERROR, "min_pixels: 300000 is more than"),
    # What replicas are given to do.
    ({f"{KNOBS}.max_pixels": 400_000_000}, f"{KNOBS}.max_pixels", WARNING, "3051 MB to decode"),
    ({"Model.max_ongoing_requests": 8}, "Model.max_ongoing_requests", WARNING, "lets rows lie idle"),
    ({f"{ROWS}.waiting": 2}, "Model.max_ongoing_requests", WARNING, "the engine refuses"),
    ({"args.preprocess.decode_processes": 16, "Preprocessor.max_ongoing_requests": 8}, "Preprocessor.max_ongoing_requests", WARNING, "decode_processes: 16 lie idle"),
    ({"Ingress.max_ongoing_requests": 4}, "Ingress.max_ongoing_requests", WARNING, "fewer than one Model replica"),
    ({"Model.ray_actor_options": {"num_cpus": 1}}, "Model.ray_actor_options", WARNING, "no GPU of their own"),
    ({"Model.ray_actor_options": {"num_cpus": 1}, "args.model.device": "cuda"}, "Model.ray_actor_options", ERROR, "no GPU of their own"),
    ({"Model.ray_actor_options": {"num_gpus": 0.25}}, "Model.ray_actor_options.num_gpus", WARNING, "gpu_fraction: 0.5"),
    ({"Model.ray_actor_options": {"num_gpus": 1}, "args.model.device": "cpu"}, "Model.ray_actor_options.num_gpus", WARNING, "on the CPU"),
    ({"Model.request_router_config": {"max_backoff_s": 0.1}}, "Model.request_router_config", WARNING, "deployments.routing:PictureRouter"),
    ({f"{INGRESS}.max_body_bytes": 200_000_000}, f"{INGRESS}.max_body_bytes", WARNING, "fills picture_memory_mb: 128 alone"),
    ({"Model.autoscaling_config.min_replicas": 0}, "Model.autoscaling_config.min_replicas", WARNING, "with no Model running"),
    # Times.
    ({f"{INGRESS}.body_grace_s": 45}, f"{INGRESS}.body_grace_s", WARNING, "a body that stalls takes the whole deadline"),
    ({f"{INGRESS}.request_timeout_s": 60, "Ingress.graceful_shutdown_timeout_s": 90, "Model.graceful_shutdown_timeout_s": 90}, f"{INGRESS}.request_timeout_s", ERROR, "cut off by Serve"),
    ({"http_options.request_timeout_s": 20}, f"{INGRESS}.request_timeout_s", ERROR, "not below Serve's http_options.request_timeout_s: 20"),
    ({f"{INGRESS}.fetch.timeout_s": 30}, f"{INGRESS}.fetch.timeout_s", WARNING, "a slow download takes the whole deadline"),
    ({f"{KNOBS}.decode_timeout_s": 31, "Preprocessor.graceful_shutdown_timeout_s": 40}, f"{KNOBS}.decode_timeout_s", WARNING, "slow to decode"),
    ({"Ingress.graceful_shutdown_timeout_s": 20}, "Ingress.graceful_shutdown_timeout_s", WARNING, "broken off"),
    ({"Model.graceful_shutdown_timeout_s": 20}, "Model.graceful_shutdown_timeout_s", WARNING, "broken off"),
    ({"Preprocessor.graceful_shutdown_timeout_s": 5}, "Preprocessor.graceful_shutdown_timeout_s", WARNING, "broken off"),
    ({"Model.graceful_shutdown_timeout_s-": None}, f"{INGRESS}.request_timeout_s", WARNING, "20 of the Model"),
    ({f"{SCALING}.look_back_period_s": 10}, f"{SCALING}.upscale_delay_s", WARNING, "the number of replicas swings"),
    ({f"{SCALING}.downscale_delay_s": 2}, f"{SCALING}.downscale_delay_s", WARNING, "the number of replicas swings"),
    # Who may ask, and whom.
    ({"http_options.host": "0.0.0.0"}, "http_options.host", ERROR, "without a key: set the Ingress's api_key_sha256"),
    ({"http_options.host": "::"}, "http_options.host", ERROR, "without a key"),
    ({"http_options.host": "gpu-01"}, "http_options.host", ERROR, "without a key"),
    ({"http_options.host-": None}, "http_options.host", ERROR, "reaches 0.0.0.0"),
    ({"http_options-": None}, "http_options.host", ERROR, "reaches 0.0.0.0"),
    ({"Ingress.num_replicas": 2}, "Ingress.num_replicas", WARNING, "up to 2 replicas of the Ingress, with records in memory"),
    ({"Ingress.num_replicas": "auto"}, "Ingress.num_replicas", WARNING, "up to 100 replicas"),
    ({"Ingress.num_replicas-": None, "Ingress.autoscaling_config": {"max_replicas": 3}}, "Ingress.autoscaling_config", WARNING, "up to 3"),
    ({"application.route_prefix": None}, "application.route_prefix", ERROR, "nobody could reach the service"),
    ({f"{INGRESS}.fetch.private_ranges": {"a.example.com": ["10.1.0.0/16"]}, f"{INGRESS}.fetch.blocked_ranges": ["10.0.0.0/8"]}, f"{INGRESS}.fetch.private_ranges.a.example.com", ERROR, "it stays closed"),
    ({f"{INGRESS}.fetch.private_ranges": {"a.example.com": []}}, f"{INGRESS}.fetch.private_ranges.a.example.com", WARNING, "opens nothing"),
    ({f"{INGRESS}.fetch.private_ranges": {"a.example.com": ["8.8.8.0/24"]}}, f"{INGRESS}.fetch.private_ranges.a.example.com", WARNING, "opens nothing"),
    ({f"{INGRESS}.fetch.private_ranges": {"a.example.com": ["169.254.169.254/32"]}}, f"{INGRESS}.fetch.private_ranges.a.example.com", ERROR, "a cloud's metadata"),
    ({"http_options.host": "0.0.0.0", "proxy_location": "Disabled"}, "proxy_location", WARNING, "nobody reaches the service"),
    # The cache and variables.
    ({CACHE: "redis://:${TUWEN_UNSET}@redis:6379/0"}, CACHE, WARNING, "${TUWEN_UNSET} is not set here"),
    ({CACHE: "redis://:$TUWEN_UNSET@redis:6379/0"}, CACHE, WARNING, "${TUWEN_UNSET} is not set here"),
    ({CACHE: "$TUWEN_UNSET"}, CACHE, WARNING, "${TUWEN_UNSET} is not set here"),
    ({CACHE: "redis://:${TUWEN-PASSWORD}@redis:6379/0"}, CACHE, ERROR, "names no variable"),
    ({CACHE: "redis://:${TUWEN@redis:6379/0"}, CACHE, ERROR, "is not closed"),
    ({CACHE: "http://redis:6379"}, CACHE, ERROR, "must start with redis://, rediss://, unix://"),
    ({CACHE: "redis:6379"}, CACHE, ERROR, "must start with redis://, rediss://, unix://"),
    ({CACHE: "redis:///0"}, CACHE, ERROR, "names no host"),
    ({CACHE: "redis://redis:seven/0"}, CACHE, ERROR, "cannot be read: Port could not be cast"),
    ({CACHE: "redis://redis:6379/cache"}, CACHE, ERROR, "ends with a database's number"),
    ({CACHE: "redis://:hunter2@redis:6379/0"}, CACHE, WARNING, "its password stands in the file"),
    ({"args.model.name": "${NAME}"}, "args.model.name", ERROR, "${NAME} stays as it is"),
    ({"http_options.host": "${HOST}", **KEY}, "http_options.host", ERROR, "${HOST} stays as it is"),
    ({f"{INGRESS}.fetch.headers": {"a.example.com": {"X-Key": "${TOKEN}"}}}, f"{INGRESS}.fetch.headers.a.example.com.X-Key", ERROR, "stays as it is"),
    ({f"{INGRESS}.holding_text": "请稍候 ${NAME}"}, f"{INGRESS}.holding_text", WARNING, "stays as it is"),
    # Files and folders.
    ({"args.model.checkpoint": "./demo/chekpoint"}, "args.model.checkpoint", ERROR, "demo/chekpoint does not exist"),
    ({"args.model.checkpoint": "./demo"}, "args.model.checkpoint", ERROR, "has no config.json"),
    ({"args.model.checkpoint": "./demo/cards/checkpoint"}, "args.model.checkpoint", ERROR, "is of type None; supported: glm4v"),
    ({"args.model.checkpoint": "/models/none"}, "args.model.checkpoint", WARNING, "/models/none does not exist here"),
    ({"args.model.checkpoint": "demo/checkpoint"}, "args.model.checkpoint", ERROR, "./demo/checkpoint?"),
    ({"args.model.checkpoint": "../models/glm"}, "args.model.checkpoint", ERROR, "wherever a replica happens to run"),
    ({"args.model.checkpoint": "models/glm/flash"}, "args.model.checkpoint", ERROR, "neither a folder nor a repository's name"),
    ({"args.model.revision": "main"}, "args.model.revision", WARNING, "has no effect on a folder"),
    ({"args.preprocess.safety.blocklist": "./configs/blocklst.txt"}, "args.preprocess.safety.blocklist", ERROR, "does not exist"),
    ({"args.preprocess.safety.blocklist": "./README.md"}, "args.preprocess.safety.blocklist", ERROR, "README.md, line 3: must be"),
    ({"args.preprocess.safety.blocklist": "./configs"}, "args.preprocess.safety.blocklist", ERROR, "cannot be read"),
    ({"args.preprocess.safety.blocklist": "configs/blocklist.txt"}, "args.preprocess.safety.blocklist", ERROR, "wherever a replica"),
    ({"args.preprocess.safety.blocklist": "/etc/tuwen/list"}, "args.preprocess.safety.blocklist", WARNING, "does not exist here"),
    ({"args.preprocess.safety.cards": "./demo/cards"}, "args.preprocess.safety.cards", ERROR, "has no config.json"),
    ({"args.preprocess.safety.cards": "./demo/checkpoint"}, "args.preprocess.safety.cards", ERROR, "holds no card classifier"),
    ({"args.preprocess.safety.classifier": "./none"}, "args.preprocess.safety.classifier", ERROR, "does not exist"),
    ({"args.preprocess.safety.clip": {"folder": "./none", "phrases": {"bank_card": "a card"}}}, "args.preprocess.safety.clip.folder", ERROR, "does not exist"),
    ({"args.ingress.samples": "./demo/sample"}, "args.ingress.samples", ERROR, "the page shows no samples"),
    ({"args.ingress.samples": "./demo/checkpoint"}, "args.ingress.samples", WARNING, "has no samples.json"),
    ({"http_options.ssl_keyfile": "/k", "http_options.ssl_certfile": str(ROOT / "README.md")}, "http_options.ssl_keyfile", WARNING, "does not exist here"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "place", "warning", "message"), CONTRADICTIONS, ids=[f"{row[1]}: {row[3]}" for row in CONTRADICTIONS]
)
def test_a_contradiction_is_the_only_problem(changes: dict[str, Any], place: str, warning: bool, message: str) -> None:
    problems = problems_of(changes)
    assert [(problem.path, problem.warning) for problem in problems] == [(full_path(place), warning)], problems
    assert message in problems[0].message


REDIS = {CACHE: "redis://:${TUWEN_REDIS_PASSWORD}@redis:6379/0"}
PASSWORD = Imagined(environment={"TUWEN_REDIS_PASSWORD": "p%40ss"})

SOUND: list[tuple[dict[str, Any], Imagined]] = [
    ({"http_options.host": "0.0.0.0", **KEY}, HERE),
    ({"http_options.host": "0.0.0.0", f"{INGRESS}.allow_open": True}, HERE),
    ({"http_options.host": "::1"}, HERE),
    ({"http_options.host": "localhost"}, HERE),
    ({**LARGE, f"{KNOBS}.max_image_tokens": 6500, f"{ROWS}.length": 8192}, HERE),
    ({f"{KNOBS}.max_tiles": 9, f"{KNOBS}.max_image_tokens": 16384, "args.model.engine": "reference"}, HERE),
    ({f"{KNOBS}.max_tiles": 9, f"{KNOBS}.max_image_tokens": 1650}, HERE),
    ({f"{MODEL}.max_new_tokens": 100, f"{MODEL}.default_max_new_tokens-": None}, HERE),
    ({"http_options.request_timeout_s": None}, HERE),
    (REDIS, PASSWORD),
    ({**REDIS, "application.runtime_env": {"env_vars": {"TUWEN_REDIS_PASSWORD": "x"}}}, HERE),
    ({CACHE: "unix:///run/redis.sock"}, HERE),
    ({"args.model.checkpoint": "zai-org/GLM-4.6V-Flash", "args.model.revision": "main"}, HERE),
    ({"args.model.checkpoint": "/models/glm"}, Imagined(files={"/models/glm/config.json": "{}"})),
    ({f"{MODEL}.level": "fast", f"{ROWS}.rows": 3}, HERE),
    ({f"{SCALING}.look_back_period_s": 10, f"{SCALING}.upscale_delay_s": 10}, HERE),
]


@pytest.mark.parametrize(("changes", "world"), SOUND, ids=[str(row[0]) for row in SOUND])
def test_settings_that_fit_pass_without_a_word(changes: dict[str, Any], world: Imagined) -> None:
    assert problems_of(changes, world) == []


def test_the_machine_s_packages_and_variables_count() -> None:
    (problem,) = problems_of(REDIS, Imagined(environment=PASSWORD.environment, packages=()))
    assert (problem.warning, problem.message) == (
        False,
        "needs the package redis, which is not installed: pip install '.[redis]'",
    )
    spoilt = Imagined(environment={"TUWEN_REDIS_PASSWORD": "p@ss/word"})
    assert any(not problem.warning for problem in problems_of(REDIS, spoilt))


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("/models/nsfw/config.json", "<html>", "has a config.json that is no JSON object"),
        ("/models/nsfw/config.json", "[" * 100_000, "has a config.json that is no JSON object"),
        ("/models/nsfw/readme", "", "has no config.json"),
    ],
)
def test_a_folder_with_something_else_in_it_is_told(path: str, text: str, message: str) -> None:
    (problem,) = problems_of({"args.preprocess.safety.classifier": "/models/nsfw"}, Imagined(files={path: text}))
    assert not problem.warning
    assert message in problem.message


def test_a_checkpoint_that_is_there_is_looked_into() -> None:
    broken = Imagined(files={"/models/glm/config.json": "{}"}, broken="model.safetensors is only a pointer")
    (problem,) = problems_of({"args.model.checkpoint": "/models/glm"}, broken)
    assert (problem.warning, problem.message) == (False, "/models/glm: model.safetensors is only a pointer")


def test_a_fault_hides_what_hangs_on_it_and_nothing_else() -> None:
    changes = {
        f"{KNOBS}.max_tiles": "many",
        f"{ROWS}.length": 16,
        "http_options.host": "0.0.0.0",
        f"{MODEL}.beam_with": 4,
    }
    errors = [problem.path for problem in problems_of(changes) if not problem.warning]
    assert errors == [full_path("http_options.host"), full_path(f"{KNOBS}.max_tiles"), full_path("Model.user_config")]


def test_defaults_contradict_nothing() -> None:
    bare = {f"{name}.user_config-": None for name in ("Ingress", "Preprocessor", "Model")}
    assert problems_of({**bare, "args.model-": None, "args.preprocess-": None, "args.ingress-": None}) == []
