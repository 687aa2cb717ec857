"""Names in open mappings and free texts: each is known or refused, with the nearest known one."""

import json
from typing import Any

import pytest

from serve_app.check import check

from .changed import HERE, Imagined, full_path, problems_of

SAFETY, ENVIRONMENT = "Preprocessor.user_config.safety", "application.runtime_env.env_vars"
TICKET = "Model.ray_actor_options"
FETCH = "Ingress.user_config.fetch"
CLIP = {
    "args.preprocess.safety.clip": {"folder": "openai/clip-vit-base-patch32", "phrases": {"gun": "a photo of a gun"}}
}
FOLDER = {"args.preprocess.safety.classifier": "/models/nsfw"}
CLASSES = {"/models/nsfw/config.json": json.dumps({"id2label": {"0": "normal", "1": "nsfw"}})}
NAMED = {f"{SAFETY}.actions": {"normal": "pass", "nsfw": "block"}}

# Each row: what is changed, where the only problem is told, and a part of it.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({f"{SAFETY}.actions": {"idenity_card": "block"}}, f"{SAFETY}.actions.idenity_card", "did you mean 'identity_card'?"),
    ({f"{SAFETY}.actions": {"Identity_Card": "block"}}, f"{SAFETY}.actions.Identity_Card", "did you mean 'identity_card'?"),
    ({f"{SAFETY}.actions": {"passport": "block"}}, f"{SAFETY}.actions.passport", "valid: bank_card, blocked_picture"),
    ({f"{SAFETY}.actions": {"identity_card": "blok"}}, f"{SAFETY}.actions.identity_card", "must be 'block', 'flag' or 'pass'"),
    ({f"{SAFETY}.actions": {"unchecked": "pass"}}, f"{SAFETY}.actions.unchecked", "`on_failure` says what is done"),
    ({f"{SAFETY}.actions": {"": "pass"}}, f"{SAFETY}.actions.", "a label is a text"),
    ({f"{SAFETY}.thresholds": {"identity_card": 9}}, f"{SAFETY}.thresholds.identity_card", "must be less than or equal to 1, got 9"),
    ({f"{SAFETY}.thresholds": {"bank_card": -0.1}}, f"{SAFETY}.thresholds.bank_card", "greater than or equal to 0"),
    ({f"{SAFETY}.thresholds": {"bank_cards": 0.5}}, f"{SAFETY}.thresholds.bank_cards", "did you mean 'bank_card'?"),
    ({f"{SAFETY}.thresholds": {"unchecked": 0.5}}, f"{SAFETY}.thresholds.unchecked", "`on_failure`"),
    ({f"{SAFETY}.thresholds": {"bank_card": 0}}, f"{SAFETY}.thresholds.bank_card", "all of them would be refused"),
    ({f"{SAFETY}.threshold": 0}, f"{SAFETY}.threshold", "all of them would be refused"),
    ({f"{SAFETY}.threshold": 50}, f"{SAFETY}.threshold", "must be less than or equal to 1, got 50"),
    ({"args.preprocess.safety.blocklist": None}, f"{SAFETY}.actions.blocked_picture", "blocklist, which would, is null"),
    ({**CLIP, f"{SAFETY}.actions": {"guns": "block", "gun": "block"}}, f"{SAFETY}.actions.guns", "did you mean 'gun'?"),
    ({"application.import_path": "serve_app.graph:biuld"}, "application.import_path", "did you mean 'serve_app.graph:build'?"),
    ({"application.import_path": "serve_app.grap:build"}, "application.import_path", "did you mean 'serve_app.graph:build'?"),
    ({"application.import_path": "serve_app:build"}, "application.import_path", "did you mean 'serve_app.graph:build'?"),
    ({"application.import_path": "server_app.graph:build"}, "application.import_path", "did you mean 'serve_app.graph:build'?"),
    ({"application.import_path": "deployments.graph:build"}, "application.import_path", "did you mean 'serve_app.graph:build'?"),
    ({f"{ENVIRONMENT}": {"RAY_SERVE_LOG_TO_STDER": "0"}}, f"{ENVIRONMENT}.RAY_SERVE_LOG_TO_STDER", "did you mean 'RAY_SERVE_LOG_TO_STDERR'?"),
    ({f"{ENVIRONMENT}": {"CUDA_VISIBLE_DEVICE": ""}}, f"{ENVIRONMENT}.CUDA_VISIBLE_DEVICE", "did you mean 'CUDA_VISIBLE_DEVICES'?"),
    ({f"{ENVIRONMENT}": {"hf_home": "/x"}}, f"{ENVIRONMENT}.hf_home", "did you mean 'HF_HOME'?"),
    ({f"{ENVIRONMENT}": {"HF_HUB_OFLINE": "1"}}, f"{ENVIRONMENT}.HF_HUB_OFLINE", "did you mean 'HF_HUB_OFFLINE'?"),
    (
        {"Ingress.ray_actor_options.runtime_env.env_vars": {"CUDA_VISBLE_DEVICES": ""}},
        "Ingress.ray_actor_options.runtime_env.env_vars.CUDA_VISBLE_DEVICES",
        "did you mean 'CUDA_VISIBLE_DEVICES'?",
    ),
    ({"application.runtime_env.pip": {"packages": [], "pipcheck": True}}, "application.runtime_env.pip", "did you mean 'pip_check'?"),
    ({TICKET: {"num_gpus": 0.5, "resources": {"GPU": 1}}}, f"{TICKET}.resources.GPU", "num_gpus"),
    ({TICKET: {"num_gpus": 0.5, "resources": {"cpu": 1}}}, f"{TICKET}.resources.cpu", "num_cpus"),
    ({TICKET: {"num_gpus": 0.5, "resources": {"shelf": "one"}}}, f"{TICKET}.resources.shelf", "must be a number of at least 0"),
    ({TICKET: {"num_gpus": 0.5, "accelerator_type": "H10"}}, f"{TICKET}.accelerator_type", "did you mean 'H100'?"),
    ({"Model.placement_group_strategy": "PAK"}, "Model.placement_group_strategy", "did you mean 'PACK'?"),
    ({"Model.request_router_config": {"request_router_class": "deployments.routing:PictureRoute"}}, "Model.request_router_config.request_router_class", "no attribute 'PictureRoute'"),
    ({"Model.request_router_config": {"request_router_class": "deployments.routing:PictureRouter", "request_router_kwargs": {"slack": 4}}}, "Model.request_router_config", "takes no request_router_kwargs"),
    ({f"{FETCH}.allowed_hosts": ["img.example.com"], f"{FETCH}.private_ranges": {"imgs.example.com": ["10.0.0.0/8"]}}, f"{FETCH}.private_ranges.imgs.example.com", "did you mean 'img.example.com'?"),
    ({f"{FETCH}.private_ranges": {"*.example.com": ["10.0.0.0/8"]}}, f"{FETCH}.private_ranges.*.example.com", "one exact host name"),
    ({f"{FETCH}.private_ranges": {"img.example.com": ["10.0.0.0/33"]}}, f"{FETCH}.private_ranges.img.example.com[0]", "10.0.0.0/33"),
    ({f"{FETCH}.allowed_hosts": ["*.example.com"], f"{FETCH}.headers": {"a.example.org": {"Referer": "x"}}}, f"{FETCH}.headers.a.example.org", "allowed_hosts keeps downloads from"),
    ({f"{FETCH}.headers": {"a.example.com": {"User-Agnet": "x"}}}, f"{FETCH}.headers.a.example.com", "did you mean 'User-Agent'?"),
    ({f"{FETCH}.headers": {"a.example.com": {"Cookie": "x"}}}, f"{FETCH}.headers.a.example.com.Cookie", "cannot be set"),
    ({"Preprocessor.user_config.formats": ["JPG"]}, "Preprocessor.user_config.formats[0]", "must be 'JPEG', 'PNG'"),
    ({"http_options.port": 80000}, "http_options.port", "must be between 1 and 65535, got 80000"),
    ({"http_options.root_path": "tuwen"}, "http_options.root_path", "must start with a slash"),
    ({"Ingress.user_config.api_key_sha256": ["e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]}, "Ingress.user_config.api_key_sha256[0]", "digest of an empty key"),
    ({"Ingress.user_config.request_timeout_s": float("inf")}, "Ingress.user_config.request_timeout_s", "finite"),
    ({"Ingress.user_config.holding_text": "  "}, "Ingress.user_config.holding_text", "pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "place", "message"), REFUSED, ids=[row[1] + " " + row[2] for row in REFUSED])
def test_a_name_that_nothing_knows_is_the_only_error(changes: dict[str, Any], place: str, message: str) -> None:
    errors = [problem for problem in problems_of(changes) if not problem.warning]
    assert [problem.path for problem in errors] == [full_path(place)], errors
    assert message in errors[0].message


ACCEPTED: list[dict[str, Any]] = [
    {},
    {"application.import_path": "serve_app.graph.build"},
    {f"{SAFETY}.actions": {"identity_card": "pass"}},
    {
        ENVIRONMENT: {
            "RAY_SERVE_LOG_TO_STDERR": "0",
            "HF_HOME": "/x",
            "OUR_OWN": "1",
            "RAY_memory_usage_threshold": "0.9",
        }
    },
    {TICKET: {"num_gpus": 0.5, "resources": {"special": 1}, "accelerator_type": "L40S"}},
    {f"{FETCH}.allowed_hosts": ["*.example.com"], f"{FETCH}.headers": {"a.*.com": {"X-Ours": "x"}}},
    {f"{FETCH}.allowed_hosts": ["img.example.com"], f"{FETCH}.private_ranges": {"img.example.com.": ["10.0.0.0/8"]}},
    {**CLIP, f"{SAFETY}.actions": {"gun": "block"}},
]


@pytest.mark.parametrize("changes", ACCEPTED, ids=str)
def test_names_that_are_known_pass_without_a_word(changes: dict[str, Any]) -> None:
    assert problems_of(changes) == []


def test_the_classifier_s_labels_are_read_from_its_folder() -> None:
    there = Imagined(files=CLASSES)
    assert problems_of({**FOLDER, **NAMED}, there) == []
    (problem,) = problems_of(
        {**FOLDER, f"{SAFETY}.actions": {"normal": "pass", "nsfw": "flag", "nswf": "block"}}, there
    )
    assert problem.path == full_path(f"{SAFETY}.actions.nswf")
    assert problem.message == "no safety check gives the label 'nswf' (did you mean 'nsfw'?)"


def test_labels_of_a_classifier_that_is_elsewhere_are_taken_on_trust() -> None:
    (missing,) = problems_of({**FOLDER, **NAMED})
    assert (missing.warning, missing.path) == (True, full_path("args.preprocess.safety.classifier"))
    _, meant = problems_of({**FOLDER, f"{SAFETY}.actions": {"identty_card": "block"}})
    assert (meant.warning, meant.path) == (True, full_path(f"{SAFETY}.actions.identty_card"))
    assert "is 'identity_card' meant?" in meant.message


def test_a_label_that_leads_nowhere_is_told_unless_somebody_said_so() -> None:
    there = Imagined(files=CLASSES)
    (problem,) = problems_of({**FOLDER, f"{SAFETY}.actions": {"nsfw": "block"}}, there)
    assert problem.warning
    assert "pictures that it calls normal are taken (other_labels: pass)" in problem.message
    assert (
        problems_of({**FOLDER, f"{SAFETY}.actions": {"nsfw": "block"}, f"{SAFETY}.other_labels": "pass"}, there) == []
    )


def test_a_misspelt_import_path_hides_no_other_problem() -> None:
    changes = {
        "application.import_path": "serve_app.graph:biuld",
        "Model.user_config.beam_width": 99,
        "args.model.device": "gpu",
    }
    assert [problem.path for problem in problems_of(changes)] == [
        full_path("application.import_path"),
        full_path("args.model.device"),
        full_path("Model.user_config.beam_width"),
    ]


def test_another_application_s_names_are_its_own() -> None:
    other = "applications:\n- import_path: other.graph:build\n  args: {model: 1}\n  deployments: [{name: Modle}]\n"
    assert check(other, HERE) == []


def test_a_cache_url_is_never_repeated() -> None:
    for url in ("http://:secret@redis:6379", "redis://:secret@redis:port/0", "redis://:secret@redis:6379/0"):
        assert all("secret" not in str(problem) for problem in problems_of({"args.ingress.cache.url": url}))
