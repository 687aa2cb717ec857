"""Configs that the checker reads: one with every level, small ones of ours, and one with merged keys."""

from serve_app.check import Problem, check
from serve_app.check.world import World

LOCAL = "http_options: {host: 127.0.0.1}\n"

# The tag at the end of a line names the row of MISSPELT (or the test) that breaks the line's key.
FULL = """\
proxy_location: HeadOnly  # top
target_capacity: 100
http_options:
  host: 127.0.0.1
  port: 8000  # http_options
  request_timeout_s: 60
grpc_options:
  port: 9000  # grpc_options
  grpc_servicer_functions: []
controller_options:
  runtime_env:  # controller_options
    env_vars: {PYTHONUNBUFFERED: "1"}
logging_config:
  encoding: JSON
  log_level: INFO  # logging_config
tracing_config:
  enabled: false
  sampling_ratio: 0.5  # tracing_config
applications:
  - name: tuwen
    route_prefix: /  # application
    import_path: serve_app.graph:build
    external_scaler_enabled: false
    autoscaling_policy:
      policy_function: ray.serve.autoscaling_policy:default_autoscaling_policy
      policy_kwargs: {anything: 1}  # application policy
    runtime_env:
      env_vars: {MODE: "1"}  # runtime_env
      config:
        eager_install: true  # runtime_env config
    args:
      model:  # args
        checkpoint: ./demo/checkpoint
        quantization: none  # args.model
        gpu_fraction: 0.5
      ingress:
        records: 100  # args.ingress
    logging_config:
      logs_dir: /tmp/logs  # application logging
    deployments:
      - name: Ingress
        num_replicas: 1
        max_ongoing_requests: 200  # limit
        max_queued_requests: 200  # deployment
        backpressure_config:
          status_code: 429
          retry_after_s: 5  # backpressure
        ray_actor_options:
          num_cpus: 0.2  # ray_actor_options
          resources: {special: 1}
          label_selector: {zone: a}
          runtime_env:
            env_vars:  # its runtime_env
              CUDA_VISIBLE_DEVICES: ""  # mask
        user_config:
          api_key_sha256: []
          max_body_bytes: 20971520  # Ingress knobs
          request_timeout_s: 30
      - name: Preprocessor
        max_ongoing_requests: 8
        autoscaling_config:
          min_replicas: 1  # least
          max_replicas: 2  # autoscaling
          target_ongoing_requests: 4
          metrics_interval_s: 1
          look_back_period_s: 5
          policy:
            policy_function: ray.serve.autoscaling_policy:default_autoscaling_policy  # policy
            policy_kwargs: {free: 1}
        request_router_config:
          max_backoff_s: 0.1  # router
          request_router_kwargs: {free: 1}
        user_config:
          max_pixels: 1000000  # Preprocessor knobs
          formats: [JPEG, PNG]
      - name: Model  # name
        num_replicas: auto
        max_ongoing_requests: 8
        autoscaling_config:
          min_replicas: 2
        logging_config:
          enable_access_log: true  # deployment logging
        gang_scheduling_config:
          gang_size: 2
          gang_placement_strategy: PACK  # gang
        deployment_actors:
          - name: board
            actor_class: somewhere:Board
            init_kwargs: {free: 1}  # actor
        user_config:
          beam_width: 4  # Model knobs
          level: full
"""


def tagged(tag: str) -> tuple[int, str]:
    """The 1-based number of the line with the tag, and the line."""
    return next((at, line) for at, line in enumerate(FULL.splitlines(), 1) if line.endswith(f"  # {tag}"))


def with_line(tag: str, line: str) -> str:
    """FULL with another text for the tagged line, at the same depth."""
    at, old = tagged(tag)
    lines = FULL.splitlines()
    lines[at - 1] = old[: len(old) - len(old.lstrip(" -"))] + line
    return "\n".join(lines)


def ours(deployment: str = "", args: str = "{}") -> str:
    """A small config of our application, with the keys of one deployment from line 6 on."""
    keys = "".join(f"    {line}\n" for line in deployment.splitlines())
    deployments = f"  deployments:\n  -\n{keys}" if deployment else ""
    return f"applications:\n- import_path: serve_app.graph:build\n  args: {args}\n{deployments}{LOCAL}"


def errors(text: str, world: World | None = None) -> list[Problem]:
    """The problems that fail the config."""
    return [problem for problem in check(text, world) if not problem.warning]


MERGED = f"""\
applications:
- import_path: serve_app.graph:build
  deployments:
  - &base
    name: Model
    max_ongoing_requests: 8
  - <<: *base
    name: Ingress
{LOCAL}"""
