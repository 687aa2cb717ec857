"""The linter finds what Ray Serve lets pass. No Ray is started: only its schema classes are used."""

import warnings

import pytest
import ray

from serve_app.check import Problem, resolved

from .configs import FULL, LOCAL, MERGED, errors, ours, tagged, with_line

APP = "applications[0]"
ACTORS = "deployment_actors[0]"


def only(text: str) -> Problem:
    problems = errors(text)
    assert len(problems) == 1, "\n".join(map(str, problems))
    return problems[0]


def test_a_config_with_every_level_has_no_problem() -> None:
    running = ray.is_initialized()
    assert errors(FULL) == []
    assert ray.is_initialized() == running  # checking starts nothing


def test_a_problem_reads_as_one_line() -> None:
    assert str(Problem(31, "applications[0]", "unknown key 'nmae'")) == "line 31: applications[0]: unknown key 'nmae'"
    assert str(Problem(1, "", "the file is empty")) == "line 1: the file is empty"


# Each row: the line's tag, its key as it is, as somebody might write it, and the mapping it stands in.
MISSPELT = [
    ("top", "proxy_location", "proxy_loction", ""),
    ("http_options", "port", "prot", "http_options"),
    ("grpc_options", "port", "ports", "grpc_options"),
    ("controller_options", "runtime_env", "runtime_envs", "controller_options"),
    ("logging_config", "log_level", "loglevel", "logging_config"),
    ("tracing_config", "sampling_ratio", "sample_ratio", "tracing_config"),
    ("application", "route_prefix", "route_prefx", APP),
    ("application policy", "policy_kwargs", "policy_kwarg", f"{APP}.autoscaling_policy"),
    ("runtime_env", "env_vars", "env_var", f"{APP}.runtime_env"),
    ("runtime_env config", "eager_install", "eager_instal", f"{APP}.runtime_env.config"),
    ("args", "model", "modle", f"{APP}.args"),
    ("args.model", "quantization", "quantisation", f"{APP}.args.model"),
    ("args.ingress", "records", "record", f"{APP}.args.ingress"),
    ("application logging", "logs_dir", "log_dir", f"{APP}.logging_config"),
    ("deployment", "max_queued_requests", "max_queued_request", f"{APP}.deployments[0]"),
    ("backpressure", "retry_after_s", "retry_after", f"{APP}.deployments[0].backpressure_config"),
    ("ray_actor_options", "num_cpus", "num_cpu", f"{APP}.deployments[0].ray_actor_options"),
    ("its runtime_env", "env_vars", "envvars", f"{APP}.deployments[0].ray_actor_options.runtime_env"),
    ("Ingress knobs", "max_body_bytes", "max_body_byte", f"{APP}.deployments[0].user_config"),
    ("autoscaling", "max_replicas", "max_replica", f"{APP}.deployments[1].autoscaling_config"),
    ("policy", "policy_function", "policy_func", f"{APP}.deployments[1].autoscaling_config.policy"),
    ("router", "max_backoff_s", "max_backof_s", f"{APP}.deployments[1].request_router_config"),
    ("Preprocessor knobs", "max_pixels", "max_pixel", f"{APP}.deployments[1].user_config"),
    ("deployment logging", "enable_access_log", "access_log", f"{APP}.deployments[2].logging_config"),
    ("gang", "gang_placement_strategy", "placement_strategy", f"{APP}.deployments[2].gang_scheduling_config"),
    ("actor", "init_kwargs", "init_kwarg", f"{APP}.deployments[2].{ACTORS}"),
    ("Model knobs", "beam_width", "beam_with", f"{APP}.deployments[2].user_config"),
]


@pytest.mark.parametrize(("tag", "key", "written", "path"), MISSPELT, ids=[row[0] for row in MISSPELT])
def test_a_misspelt_key_is_the_only_problem_with_its_line_and_the_right_key(
    tag: str, key: str, written: str, path: str
) -> None:
    line, text = tagged(tag)
    assert key in text
    expected = Problem(line, path, f"unknown key '{written}' (did you mean '{key}'?)")
    assert only(with_line(tag, text.strip(" -").replace(key, written, 1))) == expected


def test_a_required_key_misspelt_is_not_told_missing_as_well() -> None:
    assert only("aplications: []").message == "unknown key 'aplications' (did you mean 'applications'?)"
    assert only(ours("nmae: Model")).message == "unknown key 'nmae' (did you mean 'name'?)"


def test_a_bound_that_only_a_misspelt_key_breaks_is_not_told_as_well() -> None:
    scaled = ours("name: Model\nautoscaling_config:\n  min_replicas: 4\n  max_replica: 8")
    assert only(scaled) == Problem(
        9, f"{APP}.deployments[0].autoscaling_config", "unknown key 'max_replica' (did you mean 'max_replicas'?)"
    )


def test_what_only_a_misspelt_auto_breaks_is_not_told_as_well() -> None:
    scaled = ours("name: Model\nnum_replica: auto\nautoscaling_config:\n  min_replicas: 4")
    assert only(scaled).message == "unknown key 'num_replica' (did you mean 'num_replicas'?)"


def test_without_a_near_key_the_valid_ones_are_listed_if_they_are_few() -> None:
    assert (
        only(ours(args="{zebra: 1}")).message
        == "unknown key 'zebra' (valid: ingress, model, more_models, preprocess, store, wecom)"
    )
    assert only(ours("name: Model\nzebra: 1")).message == "unknown key 'zebra'"


@pytest.mark.parametrize("key", ["8000", "true", "_serialized_policy_def"])
def test_keys_that_no_user_can_mean_are_unknown(key: str) -> None:
    policy = ours(f"name: Model\nautoscaling_config:\n  policy:\n    {key}: 1")
    assert only(policy).message.startswith("unknown key")


def test_host_and_port_do_not_belong_to_an_application() -> None:
    assert only("applications:\n- import_path: other:app\n  port: 8000").line == 3


# Each row: the line's tag, what stands there instead, the path of the value, and the message.
INGRESS, PREPROCESSOR, MODEL = (f"{APP}.deployments[{index}]" for index in range(3))
POLICY = f"{PREPROCESSOR}.autoscaling_config.policy.policy_function"
WRONG_VALUES = [
    ("top", "proxy_location: Head", "proxy_location", "must be 'Disabled', 'HeadOnly' or 'EveryNode', got 'Head'"),
    ("http_options", "port: many", "http_options.port", "must be a valid integer, got 'many'"),
    ("http_options", "port: [1]", "http_options.port", "must be a valid integer, got a list"),
    ("http_options", "ssl_certfile: c", "http_options.ssl_certfile", "must be provided together"),
    ("logging_config", "log_level: [1]", "logging_config.log_level", "must be a valid integer or a valid string"),
    ("application", "route_prefix: vqa", f"{APP}.route_prefix", "must start with a forward slash"),
    (
        "args.model",
        "quantization: int8",
        f"{APP}.args.model.quantization",
        "must be 'none', 'nf4' or 'nf4+vision', got 'int8'",
    ),
    ("args.ingress", "records: 0", f"{APP}.args.ingress.records", "must be greater than or equal to 1, got 0"),
    ("runtime_env", "env_vars: {MODE: 1}", f"{APP}.runtime_env.env_vars.MODE", "got 1 (write it in quotes)"),
    ("runtime_env", "env_vars: {MODE: true}", f"{APP}.runtime_env.env_vars.MODE", "got true (write it in quotes)"),
    ("runtime_env", "env_vars: {MODE: }", f"{APP}.runtime_env.env_vars.MODE", "must be a valid string, got null"),
    ("runtime_env", "working_dir: ./here", f"{APP}.runtime_env.working_dir", "remote URIs"),
    ("limit", "max_ongoing_requests: -1", f"{INGRESS}.max_ongoing_requests", "must be greater than 0, got -1"),
    ("deployment", "max_queued_requests: 0", f"{INGRESS}.max_queued_requests", "-1 (no limit) or a positive integer"),
    ("Ingress knobs", "max_body_bytes: 2.5", f"{INGRESS}.user_config.max_body_bytes", "a valid integer, got 2.5"),
    ("autoscaling", "max_replicas: 0", f"{PREPROCESSOR}.autoscaling_config.max_replicas", "greater than 0, got 0"),
    ("autoscaling", "max_replicas: x", f"{PREPROCESSOR}.autoscaling_config.max_replicas", "a valid integer, got 'x'"),
    ("least", "min_replicas: 3", f"{PREPROCESSOR}.autoscaling_config.min_replicas", "more than max_replicas: 2"),
    (
        "least",
        "initial_replicas: 3",
        f"{PREPROCESSOR}.autoscaling_config.initial_replicas",
        "equal to initial_replicas (3)",
    ),
    ("policy", "policy_function: serve_app.nowhere:f", POLICY, "No module named 'serve_app.nowhere'"),
    ("policy", "policy_function: serve_app.settings:f", POLICY, "has no attribute 'f'"),
    ("router", "max_backoff_s: 0", f"{PREPROCESSOR}.request_router_config.max_backoff_s", "greater than 0, got 0"),
    ("Preprocessor knobs", "max_pixels: lots", f"{PREPROCESSOR}.user_config.max_pixels", "integer, got 'lots'"),
    ("gang", "runtime_failure_policy: RESTART_REPLICA", f"{MODEL}.gang_scheduling_config", "not yet implemented"),
    ("Model knobs", "beam_width: 99", f"{MODEL}.user_config.beam_width", "must be less than or equal to 16, got 99"),
]


@pytest.mark.parametrize(("tag", "line", "path", "message"), WRONG_VALUES, ids=[row[1] for row in WRONG_VALUES])
def test_a_wrong_value_is_the_only_problem_with_its_place(tag: str, line: str, path: str, message: str) -> None:
    problem = only(with_line(tag, line))
    assert problem.path == path
    assert message in problem.message
    key = path.rpartition(".")[2]
    assert f"{key}:" in with_line(tag, line).splitlines()[problem.line - 1]


def test_num_replicas_is_a_count_or_auto() -> None:
    assert errors(ours("name: Model\nnum_replicas: auto")) == []
    assert errors(ours("name: Model\nnum_replicas: auto\nautoscaling_config:\n  min_replicas: 50")) == []
    assert only(ours("name: Model\nnum_replicas: many")).line == 7
    assert only(ours("name: Model\nnum_replicas: 0")).message == "must be greater than 0 or a valid string, got 0"


def test_a_key_of_an_api_is_not_repeated_in_the_message() -> None:
    problem = only(ours("name: Ingress\nuser_config:\n  api_key_sha256: [sk-live-1234]"))
    assert problem.path == f"{INGRESS}.user_config.api_key_sha256[0]"
    assert "sk-live" not in problem.message


def test_every_problem_is_told_in_the_order_of_lines() -> None:
    text = ours("name: Model\nmax_ongoing_requests: none\nuser_config:\n  beam_with: 2\n  level: slow", "{modle: 1}")
    assert [problem.line for problem in errors(text)] == [3, 7, 9, 10]


# Each row: a whole text, the line of its only problem, and what the message says.
MALFORMED = [
    ("", 1, "the file is empty"),
    ("# nothing\n", 1, "the file is empty"),
    ("- 1\n", 1, "must be a mapping, got a list"),
    ("just words", 1, "must be a mapping, got 'just words'"),
    ("applications: []\nhttp_options: {port: 1\n", 3, "not YAML"),
    ("applications: []\n\thttp_options: 1\n", 2, "not YAML"),
    ("applications: []\n---\napplications: []\n", 2, "not YAML"),
    ("applications: []\nx: \x07\n", 2, "not YAML: character #x0007"),
    ("applications: !!python/object:os.system []\n", 1, "is not for a config"),
    ("applications: []\ntarget_capacity: !secret x\n", 2, "could not determine a constructor"),
    ("applications: []\ntarget_capacity: 2024-13-45\n", 2, "is not a valid"),
    ("applications: []\n? [a, b]\n: 1\n", 2, "a key must be a plain text"),
    ("applications: []\n<<: 1\n", 2, "not YAML: expected a mapping"),
    ("applications: &a\n- *a\n", 1, "inside its own anchor"),
    ("[" * 1500, 1, "nested too deeply"),
    ("proxy_location: HeadOnly", 1, "missing key 'applications'"),
    ("applications: {name: a}\n", 1, "must be a valid list, got a mapping"),
    ("applications:\n- tuwen\n", 2, "must be a mapping, got 'tuwen'"),
    ("applications:\n-\n", 2, "must be a mapping, got null"),
    ("http_options:\n- port: 1\napplications: []\n", 1, "must be a mapping, got a list"),
    ("http_options:\napplications: []\n", 1, "must be a mapping, got null"),
    ("applications:\n- name: a\n  route_prefix: /\n", 2, "missing key 'import_path'"),
    (ours("Model"), 6, "must be a mapping, got 'Model'"),
    (ours(args="[1]"), 3, "must be a mapping, got a list"),
    (ours("max_ongoing_requests: 5"), 6, "missing key 'name'"),
    (ours("name: Model\nautoscaling_config: 3"), 7, "must be a mapping, got 3"),
    (ours("name: Model\nray_actor_options: [1]"), 7, "must be a mapping, got a list"),
    (ours("name: Model\nray_actor_options:\n  runtime_env: x"), 8, "must be a mapping, got 'x'"),
    (ours("name: Model\nray_actor_options:\n  runtime_env: {py_modules: 5}"), 8, "must be a valid list, got 5"),
    (ours("name: Model\nuser_config: beam"), 7, "must be a mapping, got 'beam'"),
    (ours("name: [Model]"), 6, "must be a valid string, got a list"),
]


@pytest.mark.parametrize(("text", "line", "message"), MALFORMED, ids=[repr(row[0][-40:]) for row in MALFORMED])
def test_a_malformed_text_is_one_problem_with_its_line(text: str, line: int, message: str) -> None:
    problem = only(text)
    assert message in problem.message
    assert problem.line == line


def test_a_key_given_twice_is_a_problem_where_it_stands_again() -> None:
    assert only("applications: []\ngrpc_options: {}\napplications: []") == Problem(
        3, "", "key 'applications' is given twice (first on line 1)"
    )
    free = ours("name: Model\nautoscaling_config:\n  policy:\n    policy_kwargs: {a: 1, a: 1}")
    assert only(free).path == f"{APP}.deployments[0].autoscaling_config.policy.policy_kwargs"


def test_a_merged_key_may_be_given_again_and_keeps_the_line_of_its_anchor() -> None:
    assert errors(MERGED) == []
    assert [one["name"] for one in resolved(MERGED)["applications"][0]["deployments"]] == ["Model", "Ingress"]
    broken = errors(MERGED.replace("max_ongoing_requests", "max_ongoing_request"))
    assert [(problem.line, problem.path) for problem in broken] == [(6, INGRESS), (6, PREPROCESSOR)]


# Each row: the keys of one deployment, the line of the problem (the first key's is 6), and what the message says.
CROSSED = [
    ("name: Modle", 6, "no deployment is named 'Modle' (did you mean 'Model'?)"),
    ("name: Encoder", 6, "(valid: Ingress, Model, Preprocessor)"),
    ("name: Model\nnum_replicas: 2\nautoscaling_config: {max_replicas: 2}", 8, "cannot stand beside num_replicas: 2"),
    ("name: Model\nautoscaling_config:\n  min_replicas: 3\n  max_replicas: 2", 8, "more than max_replicas: 2"),
    ("name: Model\nautoscaling_config:\n  min_replicas: 3", 8, "max_replicas (1) must be greater"),
    ("name: Model\nmax_ongoing_requests: 4\nautoscaling_config:\n  target_ongoing_requests: 4.5", 9, "4.5 is more"),
    ("name: Model\nmax_ongoing_requests: 1\nautoscaling_config:\n  max_replicas: 2", 7, "2 is more than max_ong"),
    ("name: Model\nautoscaling_config:\n  metrics_interval_s: 30", 8, "less than look_back_period_s: 30"),
    ("name: Model\nautoscaling_config:\n  look_back_period_s: 5", 8, "metrics_interval_s: 10 must be less"),
    ("name: Ingress\nray_actor_options: {num_cpus: 1}", 7, 'CUDA_VISIBLE_DEVICES: ""'),
    ("name: Ingress\nray_actor_options:\n  runtime_env: {}", 8, 'CUDA_VISIBLE_DEVICES: ""'),
    ("name: Preprocessor\nray_actor_options:\n  runtime_env:\n    env_vars: {A: a}", 9, 'CUDA_VISIBLE_DEVICES: ""'),
    (
        'name: Ingress\nray_actor_options:\n  runtime_env:\n    env_vars:\n      CUDA_VISIBLE_DEVICES: "0"',
        10,
        'CUDA_VISIBLE_DEVICES: ""',
    ),
    ("name: Ingress\nray_actor_options:\n  runtime_env:\n    env_var: {A: a}", 9, "did you mean 'env_vars'?"),
]


@pytest.mark.parametrize(("deployment", "line", "message"), CROSSED, ids=[row[0] for row in CROSSED])
def test_keys_that_contradict_each_other_are_one_problem(deployment: str, line: int, message: str) -> None:
    problem = only(ours(deployment))
    assert message in problem.message
    assert problem.line == line


def test_the_model_may_see_the_gpus_and_the_code_masks_what_the_file_does_not_replace() -> None:
    assert errors(ours("name: Model\nray_actor_options: {num_gpus: 0.5}")) == []
    assert errors(ours("name: Ingress\nmax_ongoing_requests: 5")) == []


def test_what_must_tell_things_apart_is_given_once() -> None:
    twice = "applications:\n- import_path: serve_app.graph:build\n  deployments:\n  - name: Model\n  - name: Model\n"
    assert only(twice + LOCAL) == Problem(5, f"{PREPROCESSOR}.name", "name 'Model' is taken already (line 4)")
    one, other = "- {name: a, import_path: other:app", "- {name: b, import_path: other:app"
    assert only(f"applications:\n{one}}}\n{other}}}\n").message == "route_prefix '/' is taken already (line 2)"
    assert errors(f"applications:\n{one}, route_prefix: }}\n{other}, route_prefix: }}\n") == []
    assert errors(f"applications:\n{one}, route_prefix: }}\n{other}}}\n") == []
    assert only(f"applications:\n{one}, route_prefix: /x}}\n{one}}}\n") == Problem(
        3, "applications[1].name", "name 'a' is taken already (line 2)"
    )


def test_an_external_scaler_excludes_autoscaling() -> None:
    text = ours("name: Model\nautoscaling_config: {max_replicas: 2}").replace(
        "  args", "  external_scaler_enabled: true\n  args"
    )
    assert only(text).path == f"{APP}.external_scaler_enabled"


def test_another_application_keeps_its_args_and_names_but_not_its_typos() -> None:
    foreign = ours("name: Encoder\nuser_config: {any: thing}\nray_actor_options: {num_cpus: 1}", "{any: thing}")
    foreign = foreign.replace("serve_app.graph:build", "other:app")
    assert errors(foreign) == []
    assert only(foreign.replace("num_cpus", "num_cpu")).message.endswith("(did you mean 'num_cpus'?)")
    policy = "user_config: {}\n    autoscaling_config: {policy: {policy_function: nowhere.policies:mine}}"
    assert errors(foreign.replace("user_config: {any: thing}", policy)) == []


def test_serves_own_warnings_do_not_leak() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert errors(FULL) == []
