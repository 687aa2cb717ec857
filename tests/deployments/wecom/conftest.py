"""What tests of the chat platform share."""

import asyncio

import pytest

from tests.deployments.wecom.town import town


@pytest.fixture
def store_url(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture
def play(store_url):
    """Runs a scenario, a coroutine function of a town, in a town of its own."""

    def play(scenario, **options):
        async def run():
            async with asyncio.timeout(60), town(store_url, **options) as found:
                await scenario(found)

        asyncio.run(run())

    return play
