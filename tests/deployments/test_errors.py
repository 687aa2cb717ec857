"""The error tree: its drawing is true, and its errors cross process borders whole."""

import pickle
import re

import pytest

from deployments import errors
from deployments.errors import TuwenError


def tree(kind=TuwenError):
    return [kind, *(below for child in kind.__subclasses__() for below in tree(child))]


def test_the_drawing_in_the_docstring_is_the_tree():
    drawn = re.findall(r"^    [│├└─ ]*(\w+) +(\d{3}) (\w+)", errors.__doc__, re.MULTILINE)
    assert [(name, int(status), code) for name, status, code in drawn] == [
        (kind.__name__, kind.status, kind.code) for kind in tree()
    ]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_with_its_message_and_its_wait(kind):
    copy = pickle.loads(pickle.dumps(kind("do this", 2.5)))
    assert (type(copy), copy.message, str(copy), copy.retry_after_s) == (kind, "do this", "do this", 2.5)
