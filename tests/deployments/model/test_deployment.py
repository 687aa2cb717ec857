"""The model deployment's own part: turning Ray's losses into an error that the ingress tries again."""

import asyncio

import pytest
from ray import ObjectRef
from ray.exceptions import ObjectLostError, OwnerDiedError

from deployments.contract import OVERVIEW, Prepared, Question
from deployments.errors import PixelsLost
from deployments.model.deployment import Model


@pytest.mark.parametrize("fault", [ObjectLostError, OwnerDiedError])
def test_pixels_whose_owner_died_are_reported_as_lost(fault):
    async def tiles():
        raise fault(ObjectRef.nil().hex(), None, "")

    async def answer():
        prepared = Prepared(
            tiles(), "digest", ((112, 112),), (OVERVIEW,), ((0, 0, 112, 112),), (112, 112), "PNG", (112, 112), 1.0
        )
        return await Model.answer(object.__new__(Model), prepared, Question("r", "x", None, 0.0))

    assert isinstance(asyncio.run(answer()), PixelsLost)
