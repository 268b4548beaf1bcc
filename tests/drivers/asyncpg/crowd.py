"""asyncpg with its default statement cache: see common/crowding.py."""

import asyncio

import asyncpg

from crowding import crowd


class Client:
    changes = 0

    def __init__(self, connection):
        self.connection = connection
        self.execute, self.close = connection.execute, connection.close

    async def rows(self, text, *values):
        return [tuple(row) for row in await self.connection.fetch(text, *values)]


async def connect():
    return Client(await asyncpg.connect())


asyncio.run(crowd(connect))
