"""The command line: ``check`` a config, ``quantize`` a checkpoint, ``digest`` a picture, ``wait`` for a service, ask.

One-line errors, telling exit codes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

URL = "http://127.0.0.1:8000"
DASHBOARD = "http://127.0.0.1:8265"

EXIT_CODES = """exit codes:
  0  done: the config is valid, the checkpoint or the digest is made, the service is ready, the question is answered
  1  refused: the config has problems, the checkpoint cannot be quantized, the picture is none, the deployment
     failed, the service answered with an error
  2  the command itself is wrong: an unknown option, a file that cannot be read
  3  nobody answered in time
"""


class CommandError(Exception):
    """Ends the command with one line on stderr and its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        exit_code: int = options.run(options)
        return exit_code
    except CommandError as error:
        print(f"serve_app {options.command}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m serve_app",
        description="Tuwen answers questions about pictures. Start it with `serve run serve_config.yaml`.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="validate a Serve config strictly and print it with every default",
        description="Ray Serve drops unknown keys silently; this names each, with its line and the nearest valid one.",
    )
    check.add_argument("config", type=Path, metavar="CONFIG", help="a Serve config file (YAML)")
    check.add_argument("--quiet", action="store_true", help="print problems only, not the resolved settings")
    check.set_defaults(run=run_check)

    quantize = commands.add_parser(
        "quantize",
        help="store a checkpoint in NF4, so that replicas load it faster",
        description="Serve the folder with args.model.checkpoint: FOLDER and quantization: nf4.",
    )
    quantize.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder, or a repository on the Hugging Face hub")
    quantize.add_argument("folder", type=Path, metavar="FOLDER", help="where the quantized checkpoint goes")
    quantize.add_argument("--revision", help="commit or tag of a hub checkpoint")
    quantize.set_defaults(run=run_quantize)

    digest = commands.add_parser(
        "digest",
        help="print a picture's lines for the blocklist",
        description="Either line refuses the picture once it stands in the file that args.preprocess.safety.blocklist "
        "names: sha256 this very file, dhash also its look-alikes.",
    )
    digest.add_argument("picture", type=Path, metavar="PICTURE", help="a JPEG, PNG, WebP, GIF or BMP file")
    digest.set_defaults(run=run_digest)

    wait = commands.add_parser(
        "wait",
        help="wait until a service is ready",
        description="Exits 0 when the service is ready, 1 with the deployment's message when Serve gave it up "
        "(`serve run` itself never exits then), 3 when the time is over.",
    )
    wait.add_argument("url", nargs="?", default=URL, metavar="URL", help="the service (default %(default)s)")
    wait.add_argument("--dashboard", default=DASHBOARD, metavar="URL", help="Ray's dashboard (default %(default)s)")
    wait.add_argument("--timeout", type=float, default=300, metavar="SECONDS", help="default %(default)s")
    wait.set_defaults(run=run_wait)

    ask = commands.add_parser("ask", help="ask one question about one picture")
    ask.add_argument("picture", type=Path, metavar="PICTURE", help="a JPEG, PNG, WebP, GIF or BMP file")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--url", default=URL, help="the service (default %(default)s)")
    ask.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    ask.add_argument("--max-new-tokens", type=int, metavar="N", help="longest answer, in tokens")
    ask.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="default %(default)s")
    ask.set_defaults(run=run_ask)
    return top


def run_check(options: argparse.Namespace) -> int:
    # Imports Ray's schema, which takes a second that the other commands need not pay.
    from serve_app.check import check, resolved

    try:
        text = options.config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise CommandError(f"cannot read {options.config}: {fault}", 2) from fault
    problems = check(text)
    for problem in problems:
        print(f"{options.config}: {problem}", file=sys.stderr)
    errors = sum(not problem.warning for problem in problems)
    if errors:
        count = f"{errors} problem{'s' if errors > 1 else ''}"
        raise CommandError(f"{options.config} has {count}", 1)
    if not options.quiet:
        print(yaml.safe_dump(resolved(text), allow_unicode=True, sort_keys=False), end="")
    return 0


def run_quantize(options: argparse.Namespace) -> int:
    from deployments.model.settings import CheckpointError
    from serve_app.quantize import quantize

    if options.folder.exists() and any(options.folder.iterdir()):
        raise CommandError(f"{options.folder} is not empty: name a new folder", 2)
    try:
        print(f"{options.folder}: {quantize(options.checkpoint, options.folder, options.revision)}")
    except CheckpointError as fault:
        raise CommandError(str(fault), 1) from fault
    return 0


def run_digest(options: argparse.Namespace) -> int:
    from deployments.errors import ImageError
    from deployments.preprocess.safety.blocklist import lines_of

    try:
        print("\n".join(lines_of(options.picture.read_bytes())))
    except OSError as fault:
        raise CommandError(f"cannot read {options.picture}: {fault.strerror or fault}", 2) from fault
    except ImageError as fault:
        raise CommandError(f"{options.picture}: {fault}", 1) from fault
    return 0


def run_wait(options: argparse.Namespace) -> int:
    from serve_app.wait import DeploymentFailed, NotReady, wait

    try:
        health = wait(options.url, options.dashboard, options.timeout)
    except DeploymentFailed as failure:
        raise CommandError(str(failure), 1) from failure
    except NotReady as late:
        raise CommandError(str(late), 3) from late
    print(
        f"ready: {health['model']} on {health['device']} (quantization {health['quantization']}, "
        f"level {health['level']}) at {options.url}"
    )
    return 0


def run_ask(options: argparse.Namespace) -> int:
    from serve_app.ask import Refused, Unreachable, ask, human

    try:
        answer = ask(options.url, options.picture, options.question, options.max_new_tokens, options.timeout)
    except OSError as fault:
        raise CommandError(f"cannot read {options.picture}: {fault.strerror or fault}", 2) from fault
    except Refused as refusal:
        raise CommandError(str(refusal), 1) from refusal
    except Unreachable as nobody:
        raise CommandError(str(nobody), 3) from nobody
    print(json.dumps(answer, ensure_ascii=False, indent=2) if options.json else human(answer))
    return 0
