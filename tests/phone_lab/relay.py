"""relay.py SOCKET PORT: from a unix socket to 127.0.0.1:PORT, across a network namespace."""

import asyncio
import contextlib
import sys
from pathlib import Path


async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 18):
            sink.write(data)
            await sink.drain()
    sink.close()


async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", sys.argv[2])
            break
        except OSError:
            await asyncio.sleep(0.02)  # adbd is still starting
    await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))


async def main() -> None:
    path = Path(sys.argv[1])
    path.unlink(missing_ok=True)
    await (await asyncio.start_unix_server(link, path)).serve_forever()


asyncio.run(main())
