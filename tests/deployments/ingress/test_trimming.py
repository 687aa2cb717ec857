"""Freed memory is given back once for all who asked meanwhile, and off the event loop."""

import asyncio
import threading

import pytest

from deployments.ingress import trimming
from deployments.ingress.trimming import Trimmer, malloc_trim


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(trimming, "DELAY_S", 0.001)


def test_all_who_ask_meanwhile_are_served_at_once_and_later_ones_anew():
    threads = []

    async def ask():
        loop, called = asyncio.get_running_loop(), asyncio.Queue[None]()

        def trim():
            threads.append(threading.current_thread())
            loop.call_soon_threadsafe(called.put_nowait, None)

        trimmer = Trimmer(trim)
        for _ in range(2):
            for _ in range(10):
                trimmer.ask()
            await asyncio.wait_for(called.get(), 10)

    asyncio.run(ask())
    assert len(threads) == 2
    assert threading.main_thread() not in threads


def test_the_c_library_s_own_may_be_called_at_any_time():
    malloc_trim()
