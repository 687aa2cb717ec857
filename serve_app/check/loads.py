"""What replicas are given to do at a time, against what they have for it: memory, rows, processes, a GPU."""

from collections.abc import Iterator

from serve_app.check.problems import Problem
from serve_app.check.view import App, contradiction

BYTES_PER_PIXEL = 8
"""Of a picture with transparency while it is decoded: four as it is, three as RGB, one for the mask."""


def memory_rules(app: App) -> Iterator[Problem]:
    pixels, memory_mb = app.preprocessor["user_config.max_pixels"], app.preprocessor["user_config.decode_memory_mb"]
    needed_mb = pixels * BYTES_PER_PIXEL // 2**20
    if needed_mb > memory_mb:
        text = (
            f"a picture of {pixels} pixels takes up to {needed_mb} MB to decode, and decode_memory_mb is {memory_mb}: "
            "some that max_pixels lets pass are refused (image_too_costly)"
        )
        places = [(app.preprocessor, f"user_config.{key}") for key in ("max_pixels", "decode_memory_mb")]
        yield from contradiction(places, text)


def body_rules(app: App) -> Iterator[Problem]:
    most, budget_mb = app.ingress["user_config.max_body_bytes"], app.ingress["user_config.picture_memory_mb"]
    if most > budget_mb * 2**20:
        text = (
            f"a picture of {most} bytes fills picture_memory_mb: {budget_mb} alone: all others wait until it is through"
        )
        places = [(app.ingress, f"user_config.{key}") for key in ("max_body_bytes", "picture_memory_mb")]
        yield from contradiction(places, text)


def idle_rules(app: App) -> Iterator[Problem]:
    """Deployments that scale to nothing: whoever asks first waits until a replica has started."""
    for name, part in app.deployments.items():
        scaling = part.values.get("autoscaling_config")
        if isinstance(scaling, dict) and scaling.get("min_replicas") == 0:
            text = f"with no {name} running, callers wait for one to start, longer than request_timeout_s if it is slow"
            yield from contradiction([(part, "autoscaling_config.min_replicas")], text)


def concurrency_rules(app: App) -> Iterator[Problem]:
    """Requests that a replica is given at a time, against what it can work on."""
    given = "max_ongoing_requests"
    model, ingress, preprocessor = app.model[given], app.ingress[given], app.preprocessor[given]
    rows, processes = app.args["model.rows.rows"], app.args["preprocess.decode_processes"]
    if app.args["model.engine"] == "rows" and model < rows:
        text = f"{given}: {model} of the Model lets rows lie idle (args.model.rows.rows: {rows})"
        yield from contradiction([(app.model, given), (app.args, "model.rows.rows")], text)
    if app.args["model.engine"] == "rows" and model > rows + app.args["model.rows.waiting"]:
        text = "the engine refuses what its rows and args.model.rows.waiting do not hold, although Serve sends it"
        yield from contradiction([(app.model, given), (app.args, "model.rows.waiting")], text)
    if preprocessor < processes:
        text = f"{given}: {preprocessor} of the Preprocessor lets some of its decode_processes: {processes} lie idle"
        yield from contradiction([(app.preprocessor, given), (app.args, "preprocess.decode_processes")], text)
    if ingress < min(model, rows):
        text = f"the Ingress takes {ingress} requests at a time ({given}), fewer than one Model replica can answer"
        yield from contradiction([(app.ingress, given), (app.model, given)], text)


def ticket_rules(app: App) -> Iterator[Problem]:
    """The Model's ``ray_actor_options`` replaces the ticket that the code writes from ``args.model``."""
    options = app.model
    if options.given("ray_actor_options") is None:
        return
    gpus = options["ray_actor_options"].get("num_gpus")
    device, fraction = app.args["model.device"], app.args["model.gpu_fraction"]
    if device != "cpu" and not gpus:
        text = (
            f"replaces the ticket of args.model, and with it num_gpus: {fraction:g}: replicas get no GPU of their own, "
            "and Ray may put any number of them on one"
        )
        yield options.problem("ray_actor_options", text, warning=device == "auto")
    elif device != "cpu" and gpus != fraction:
        text = f"num_gpus: {gpus} is not args.model.gpu_fraction: {fraction:g}, the share that a replica keeps to"
        yield options.problem("ray_actor_options.num_gpus", text, warning=True)
    elif device == "cpu" and gpus:
        yield options.problem("ray_actor_options.num_gpus", "reserves a GPU for a model on the CPU", warning=True)


RULES = (memory_rules, body_rules, idle_rules, concurrency_rules, ticket_rules)
