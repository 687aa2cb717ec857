"""How a command ends: the exit codes that scripts rely on, and the exception that carries one with its sentence."""

from enum import IntEnum


class Exit(IntEnum):
    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    BUSY = 4
    INTERRUPTED = 130
    PIPE = 141


MEANINGS = {
    Exit.DONE: "done: the config is valid, a service can start, the checkpoint or the digest is made, every check of "
    "the checkpoint has passed, the service is ready, the question is answered",
    Exit.REFUSED: "refused: the config has problems, the port is taken, the checkpoint cannot be quantized or fails a "
    "check, the picture is none, the deployment failed, a changed setting was refused, the service answered with an "
    "error",
    Exit.USAGE: "the command itself is wrong: an unknown option, an address, key, number or question that cannot be "
    "one, a file that cannot be read or written",
    Exit.UNREACHABLE: "nobody answered in time, or somebody else than this service, or the service is not ready yet",
    Exit.BUSY: "the service is busy: it gave its holding reply, or status 429; the message says when to ask again",
    Exit.INTERRUPTED: "interrupted from the keyboard",
    Exit.PIPE: "whoever read the output has gone, as `| head` does",
}


class CommandError(Exception):
    """Ends the command with one line on stderr and its exit code."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def one_line(text: object, longest: int = 400) -> str:
    """Somebody else's words as one line that no terminal obeys."""
    line = " ".join(str(text).split())
    shown = "".join(letter if letter.isprintable() else "�" for letter in line)
    return shown if len(shown) <= longest else f"{shown[: longest - 1]}…"
