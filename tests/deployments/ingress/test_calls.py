"""What comes of a call to another deployment: its result, or an error that says whether to try again."""

import asyncio

import pytest
from ray import ObjectRef
from ray.exceptions import ObjectLostError, OwnerDiedError, ReferenceCountingAssertionError

from deployments.errors import Overloaded, Unavailable
from deployments.ingress.deployment import INLINE_BYTES, called, carrying


async def raising(fault):
    raise fault


@pytest.mark.parametrize("fault", [ObjectLostError, OwnerDiedError, ReferenceCountingAssertionError])
def test_pixels_that_are_lost_are_asked_for_again(fault):
    with pytest.raises(Unavailable, match="ask again"):
        asyncio.run(called("the model", raising(fault(ObjectRef.nil().hex(), None, ""))))


def test_an_error_that_comes_as_a_value_is_raised():
    async def refused():
        return Overloaded("no room", 3.0)

    with pytest.raises(Overloaded, match="no room"):
        asyncio.run(called("the model", refused()))


class Handle:
    """A deployment handle that notes how it was called for."""

    def __init__(self, **chosen):
        self.chosen = chosen

    def options(self, **chosen):
        return Handle(**self.chosen | chosen)


@pytest.mark.parametrize(("size", "chosen"), [(0, {}), (INLINE_BYTES, {}), (INLINE_BYTES + 1, {"_by_reference": True})])
def test_what_is_large_goes_through_the_object_store(size, chosen):
    assert carrying(Handle(), size).chosen == chosen
