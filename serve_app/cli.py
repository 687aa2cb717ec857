"""The command line: ``check`` a config, ``preflight`` this machine, ``quantize`` or ``verify`` a checkpoint, ``digest``
a picture, ``wait`` for a service, ``ask`` it, ``wecom-sim`` beside it, ``wecom-check`` a chat surface.
"""

import argparse
import errno
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import yaml

from serve_app.exits import MEANINGS, CommandError, Exit
from serve_app.files import read_file, read_text
from serve_app.options import address, seconds, share, tokens

URL = "http://127.0.0.1:8000"
LARGEST_CONFIG_BYTES = 16 * 1024**2
LARGEST_PICTURE_BYTES = 1024**3


def exit_codes() -> str:
    """The table of exit codes, as ``--help`` shows it."""
    rows = (f"{code:>3}  {meaning}" for code, meaning in MEANINGS.items())
    return "exit codes:\n" + "\n".join(textwrap.fill(row, 110, subsequent_indent=" " * 5) for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a letter shows its number
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            return run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as fault:
        return output_failed(fault)


def run(arguments: Sequence[str] | None) -> int:
    """The exit code of a command, with its fault, if any, told in one line."""
    options = parser().parse_args(arguments)
    try:
        exit_code: int = options.run(options)
        return exit_code
    except CommandError as error:
        complain(f"serve_app {options.command}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


def complain(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr)


def output_failed(fault: OSError) -> int:
    """The exit code where what a command prints cannot be written. What is left of it goes nowhere, quietly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if fault.errno in (errno.EPIPE, errno.ECONNRESET):
        return Exit.PIPE
    complain(f"serve_app: cannot write the output: {fault.strerror or fault}")
    return Exit.USAGE


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m serve_app",
        description="Tuwen answers questions about pictures. Start it with `serve run serve_config.yaml`.",
        epilog=exit_codes(),
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

    preflight = commands.add_parser(
        "preflight",
        help="see whether a service can start here: config, port, folders",
        description="Validates the config, and says who holds its port, or what else `serve run` would stumble over.",
    )
    preflight.add_argument("config", type=Path, metavar="CONFIG", help="a Serve config file (YAML)")
    preflight.set_defaults(run=run_preflight)

    quantize = commands.add_parser(
        "quantize",
        help="store a checkpoint in NF4, so that replicas load it faster",
        description="Serve the folder with args.model.checkpoint: FOLDER and quantization: nf4 (nf4+vision).",
    )
    quantize.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder, or a repository on the Hugging Face hub")
    quantize.add_argument("folder", type=Path, metavar="FOLDER", help="where the quantized checkpoint goes")
    quantize.add_argument("--revision", help="commit or tag of a hub checkpoint")
    quantize.add_argument("--vision", action="store_true", help="the vision tower too, for small cards")
    quantize.set_defaults(run=run_quantize)

    verify = commands.add_parser(
        "verify",
        help="load a checkpoint as a replica does, and ask it about pictures whose texts are known",
        description="For whoever has the weights and the machine: prints each check and every answer. Exit code 0 when "
        "all passed, 1 when one failed or the checkpoint cannot be served.",
    )
    verify.add_argument("checkpoint", metavar="CHECKPOINT", help="a folder, or a repository on the Hugging Face hub")
    verify.add_argument("--revision", help="commit or tag of a hub checkpoint")
    verify.add_argument("--quantization", choices=("none", "nf4", "nf4+vision"), default="none")
    verify.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    verify.add_argument("--least", type=share, default=0.5, metavar="SHARE", help="of answers that must be right (0.5)")
    verify.add_argument("--samples", type=Path, metavar="FOLDER", help="of pictures with a samples.json (demo/samples)")
    verify.set_defaults(run=run_verify)

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
        "(`serve run` itself never exits then) or when changed settings were refused, 3 when the time is over.",
    )
    wait.add_argument(
        "url", type=address, nargs="?", default=URL, metavar="URL", help="the service (default %(default)s)"
    )
    wait.add_argument(
        "--dashboard", type=address, metavar="URL", help="Ray's dashboard (default http://127.0.0.1:8265)"
    )
    wait.add_argument("--timeout", type=seconds(0), default=300, metavar="SECONDS", help="default %(default)s")
    wait.set_defaults(run=run_wait)

    ask = commands.add_parser(
        "ask",
        help="ask one question about one picture",
        description="The API key, where the service wants one, is read from TUWEN_API_KEY.",
    )
    ask.add_argument("picture", type=Path, metavar="PICTURE", help="a JPEG, PNG, WebP, GIF or BMP file")
    ask.add_argument("question", metavar="QUESTION")
    ask.add_argument("--url", type=address, default=URL, help="the service (default %(default)s)")
    ask.add_argument("--json", action="store_true", help="print the whole answer as JSON")
    ask.add_argument("--max-new-tokens", type=tokens, metavar="N", help="longest answer, in tokens")
    ask.add_argument("--model", metavar="NAME", help="which of the service's models (its first)")
    ask.add_argument("--timeout", type=seconds(0.001), default=60, metavar="SECONDS", help="default %(default)s")
    ask.set_defaults(run=run_ask)

    simulate = commands.add_parser(
        "wecom-sim",
        help="play WeCom on this machine, beside a service with the same config",
        description="Takes the names and keys of the config's args.wecom, whose endpoints.qyapi must be "
        "http://127.0.0.1:PORT: there the simulator answers, and shows a page to chat on.",
    )
    simulate.add_argument("config", type=Path, metavar="CONFIG", help="the service's config file (YAML)")
    simulate.add_argument("--url", type=address, default=URL, help="the service (default %(default)s)")
    simulate.add_argument("--mode", action="append", default=[], metavar="MODE", help="a habit of WeCom's to play")
    simulate.set_defaults(run=run_wecom_sim)

    look = commands.add_parser(
        "wecom-check",
        help="see whether a WeCom surface's keys, tokens, address and rights are right",
        description="Uses each of them once, beside the running service, and says what to do about what is wrong. "
        "Nobody in WeCom sees anything of it, but for the message that --to sends.",
    )
    look.add_argument("config", type=Path, metavar="CONFIG", help="the service's config file (YAML)")
    look.add_argument("name", metavar="NAME", help="a surface's name: desk, or app/desk where several are called so")
    look.add_argument("--url", type=address, default=URL, help="the service, as WeCom calls it (default %(default)s)")
    look.add_argument("--to", default="", metavar="USERID", help="send this user a test message from the app")
    look.set_defaults(run=run_wecom_check)
    return top


def config_text(path: Path) -> str:
    """The text of a config that ``check`` finds fine. Raises CommandError, after every problem on a line of its own."""
    # Imports Ray's schema, which takes a second that the other commands need not pay.
    from serve_app.check import check

    try:
        text = read_text(path, LARGEST_CONFIG_BYTES)
    except OSError as fault:
        raise unreadable(path, fault) from fault
    problems = check(text)
    for problem in problems:
        complain(f"{path}: {problem}")
    errors = sum(not problem.warning for problem in problems)
    if errors:
        raise CommandError(f"{path} has {errors} problem{'s' if errors > 1 else ''}", Exit.REFUSED)
    return text


def unreadable(path: Path, fault: OSError) -> CommandError:
    return CommandError(f"cannot read {path}: {fault.strerror or fault}", Exit.USAGE)


def run_check(options: argparse.Namespace) -> int:
    text = config_text(options.config)
    if not options.quiet:
        from serve_app.check import resolved

        print(yaml.safe_dump(resolved(text), allow_unicode=True, sort_keys=False), end="")
    return Exit.DONE


def run_preflight(options: argparse.Namespace) -> int:
    from serve_app.check import resolved
    from serve_app.preflight import faults

    found = faults(resolved(config_text(options.config))["http_options"], os.environ)
    for fault in found[:-1]:
        complain(f"serve_app preflight: {fault}")
    if found:
        raise CommandError(found[-1], Exit.REFUSED)
    return Exit.DONE


def run_quantize(options: argparse.Namespace) -> int:
    from deployments.model.settings import CheckpointError
    from serve_app.quantize import quantize

    try:
        if options.folder.exists() and any(options.folder.iterdir()):
            raise CommandError(f"{options.folder} is not empty: name a new folder", Exit.USAGE)
        made = quantize(options.checkpoint, options.folder, options.revision, options.vision)
    except CheckpointError as fault:
        raise CommandError(str(fault), Exit.REFUSED) from fault
    except OSError as fault:
        raise CommandError(f"cannot write to {options.folder}: {fault.strerror or fault}", Exit.USAGE) from fault
    print(f"{options.folder}: {made}")
    return Exit.DONE


def run_verify(options: argparse.Namespace) -> int:
    from deployments.model.settings import CheckpointError, ModelSettings, RowSettings
    from serve_app.verify import SAMPLES, verify

    settings = ModelSettings(
        checkpoint=options.checkpoint, revision=options.revision, quantization=options.quantization,
        device=options.device, rows=RowSettings(rows=4, length=4096, bucket=1024), gpu_fraction=1.0,
    )  # fmt: skip
    try:
        passed = verify(settings, options.least, options.samples or SAMPLES, lambda line: print(line, flush=True))
    except CheckpointError as fault:
        raise CommandError(str(fault), Exit.REFUSED) from fault
    except (OSError, ValueError, KeyError) as fault:
        raise CommandError(f"cannot read the samples: {fault}", Exit.USAGE) from fault
    return Exit.DONE if passed else Exit.REFUSED


def run_digest(options: argparse.Namespace) -> int:
    from deployments.errors import ImageError
    from deployments.preprocess.safety.blocklist import lines_of

    try:
        lines = lines_of(read_file(options.picture, LARGEST_PICTURE_BYTES))
    except OSError as fault:
        raise unreadable(options.picture, fault) from fault
    except ImageError as fault:
        raise CommandError(f"{options.picture}: {fault}", Exit.REFUSED) from fault
    print("\n".join(lines))
    return Exit.DONE


def run_wait(options: argparse.Namespace) -> int:
    from serve_app.wait import DeploymentFailed, KnobsRefused, NotReady, wait

    try:
        health = wait(options.url, options.dashboard, options.timeout)
    except KnobsRefused as refused:
        for line in refused.refused:
            complain(f"serve_app wait: {line}")
        raise CommandError(str(refused), Exit.REFUSED) from refused
    except DeploymentFailed as failure:
        raise CommandError(str(failure), Exit.REFUSED) from failure
    except NotReady as late:
        raise CommandError(str(late), Exit.UNREACHABLE) from late
    print(
        f"ready: {health['model']} on {health['device']} (quantization {health['quantization']}, "
        f"level {health['level']}) at {options.url}"
    )
    return Exit.DONE


def run_ask(options: argparse.Namespace) -> int:
    from serve_app.ask import AskError, Busy, Refused, ask, human
    from serve_app.client import Unreachable

    shown = human if not options.json else lambda answer: json.dumps(answer, ensure_ascii=False, indent=2)
    try:
        answer = ask(
            options.url, options.picture, options.question, options.max_new_tokens, options.timeout, options.model
        )
    except OSError as fault:
        raise unreadable(options.picture, fault) from fault
    except AskError as fault:
        raise CommandError(str(fault), Exit.USAGE) from fault
    except Refused as refusal:
        raise CommandError(str(refusal), Exit.REFUSED) from refusal
    except Busy as busy:
        if busy.answer is not None:
            print(shown(busy.answer))
        raise CommandError(str(busy), Exit.BUSY) from busy
    except Unreachable as nobody:
        raise CommandError(str(nobody), Exit.UNREACHABLE) from nobody
    print(shown(answer))
    return Exit.DONE


def run_wecom_sim(options: argparse.Namespace) -> int:
    from serve_app.wecom_sim.command import NothingToSimulate, section_of, serve
    from serve_app.wecom_sim.world import MODES

    unknown = [mode for mode in options.mode if mode not in MODES]
    if unknown:
        raise CommandError(f"no mode '{unknown[0]}': there are {', '.join(MODES)}", Exit.USAGE)
    try:
        found, host, port = section_of(config_text(options.config), os.environ, options.url, options.mode)
    except NothingToSimulate as fault:
        raise CommandError(str(fault), Exit.REFUSED) from fault
    print(f"WeCom is played at http://{host}:{port}/ for the service at {options.url}", flush=True)
    try:
        serve(found, host, port)
    except SystemExit as fault:  # uvicorn has told why, a port that is taken
        raise CommandError(f"cannot serve on {host}:{port}", Exit.USAGE) from fault
    return Exit.DONE


def run_wecom_check(options: argparse.Namespace) -> int:
    from serve_app.wecom_check import CannotCheck, report, section_of, surface_of

    try:
        settings = section_of(config_text(options.config), os.environ)
        surface, _ = surface_of(settings, options.name)
    except CannotCheck as fault:
        raise CommandError(str(fault), Exit.REFUSED) from fault
    wrong = [finding for finding in report(settings, surface, options.url, options.to) if finding.ok is False]
    if wrong:
        raise CommandError(
            f"{surface}: {len(wrong)} of what was looked at {'is' if len(wrong) == 1 else 'are'} wrong", Exit.REFUSED
        )
    return Exit.DONE
