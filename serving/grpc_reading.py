"""Reading the messages of gRPC: a few at once, so that memory is bounded, and in time.

gRPC reads a whole message before a handler of one message is called, however many calls there are
and however slowly they send. Methods are therefore served as streams that have one message: on
the wire they are the same, and here the handler says when it reads.
"""

import asyncio
from collections.abc import AsyncIterator

from serving.refusals import BadInput, TooSlow

# Messages that are being read at once. None is refused for it: the others wait.
READERS = 4
# What a message may take to arrive while others wait for their turn.
PATIENCE_S = 1.0


class MessageReader:
    """Reads the one message of each call. One instance a process, used on its event loop."""

    def __init__(self, time_limit_s: float) -> None:
        self.time_limit_s = time_limit_s
        self._turns = asyncio.Semaphore(READERS)
        self._waiting = 0
        self._begun: dict[asyncio.Timeout, float] = {}

    async def read(self, messages: AsyncIterator[bytes]) -> bytes:
        """Reads the message of a call when its turn comes.

        Raises:
            TooSlow: it did not arrive within the time limit, or kept others waiting.
            BadInput: the call ended without one.
        """
        try:
            async with asyncio.timeout(self.time_limit_s):
                await self._take_turn()
                try:
                    message = await self._read(messages)
                finally:
                    self._turns.release()
        except TimeoutError as error:
            raise TooSlow("the message did not arrive in time; try again") from error
        if message is None:
            raise BadInput("the call ended without a message")
        return message

    async def _take_turn(self) -> None:
        if self._turns.locked():
            for timeout, begun in self._begun.items():
                timeout.reschedule(begun + PATIENCE_S)
        self._waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._waiting -= 1

    async def _read(self, messages: AsyncIterator[bytes]) -> bytes | None:
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout(PATIENCE_S if self._waiting else None) as timeout:
            self._begun[timeout] = begun
            try:
                return await anext(messages, None)
            finally:
                del self._begun[timeout]
