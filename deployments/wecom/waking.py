"""When somebody should look for work: now, or at a time that is known; nobody polls for what this process knows of."""

import asyncio
from collections.abc import Callable


class Waking:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.now = clock
        self._event = asyncio.Event()

    def wake(self) -> None:
        self._event.set()

    def at(self, due_at: float) -> None:
        """Wakes at that time, or at once."""
        wait_s = due_at - self.now()
        if wait_s <= 0:
            self.wake()
        else:
            asyncio.get_running_loop().call_later(wait_s + 0.01, self.wake)

    async def wait(self, most_s: float) -> None:
        """Until it is time, and no longer than that."""
        try:
            async with asyncio.timeout(most_s):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
