"""Carries connections from the machine's loopback to the API server inside.

The listening socket was opened in the machine's network namespace and handed over: a socket stays where it was made,
so this process accepts there and connects here.

  forward.py DESCRIPTOR ADDRESS PORT
"""

import asyncio
import contextlib
import socket
import sys


async def carry(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        writer.close()


async def serve(listener, address, port):
    async def connected(reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.transport.abort()  # a reset, which clients take as a refusal
            return
        with contextlib.suppress(ConnectionError, OSError):
            await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
        for each in (writer, far_writer):
            each.close()

    server = await asyncio.start_server(connected, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], int(sys.argv[3])))
