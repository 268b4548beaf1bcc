"""psycopg 3 that prepares every statement: see common/crowding.py."""

import asyncio

import psycopg

from crowding import crowd


class Client:
    changes = 0

    def __init__(self, connection):
        self.connection = connection
        self.execute, self.close = connection.execute, connection.close

    async def rows(self, text, *values):
        cursor = psycopg.AsyncRawCursor(self.connection)
        await cursor.execute(text, values, prepare=True)
        return await cursor.fetchall()


async def connect():
    return Client(await psycopg.AsyncConnection.connect("", autocommit=True, prepare_threshold=0))


asyncio.run(crowd(connect))
