"""Links that break: a relay between the ports that clients are given and the linker's own sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no time: the peer hears a reset, not a goodbye
_BUFFER = 1 << 16


class Links:
    """A port on 127.0.0.1 for each of some Unix sockets, whose connections can be cut or fall silent.

    The relay outlives who listens behind it: while nobody does, connections are refused. Used in a ``with``.
    """

    def __init__(self, behind: Mapping[str, Path]) -> None:
        self._behind = behind
        self.ports: dict[str, int] = {}
        self._open: dict[str, set[_Link]] = {name: set() for name in behind}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links")
        self.cuts = self.silenced = 0

    def cut(self, name: str) -> None:
        """Every connection of this port is reset."""
        self.cuts += 1
        self._do(self._end(name, silently=False))

    def silence(self, name: str) -> None:
        """No byte passes on this port's present connections any more, and nobody is told."""
        self.silenced += 1
        self._do(self._end(name, silently=True))

    async def _end(self, name: str, *, silently: bool) -> None:
        for link in list(self._open[name]):
            link.end(silently=silently)

    async def _accept(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_unix_connection(str(self._behind[name]))
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), there)
        self._open[name].add(link)
        try:
            await link.carry()
        finally:
            self._open[name].discard(link)

    def _do(self, what: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _start(self) -> None:
        for name in self._behind:

            def accepted(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name
            ) -> asyncio.Task[None]:
                return asyncio.ensure_future(self._accept(name, reader, writer))

            server = await asyncio.start_server(accepted, "127.0.0.1", 0)
            self._servers.append(server)
            self.ports[name] = server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


_Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection and what stands behind it."""

    def __init__(self, here: _Ends, there: _Ends) -> None:
        self._here, self._there = here, there
        self._over = asyncio.Event()
        self._silent = False

    async def carry(self) -> None:
        """Until either side is over, or it is cut."""
        ways = [
            asyncio.ensure_future(self._pass(self._here[0], self._there[1])),
            asyncio.ensure_future(self._pass(self._there[0], self._here[1])),
        ]
        try:
            await self._over.wait()
        finally:
            for way in ways:
                way.cancel()
            for _, writer in (self._here, self._there):
                writer.transport.abort()

    def end(self, *, silently: bool) -> None:
        if silently:
            self._silent = True
            return
        raw = self._here[1].get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._over.set()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_BUFFER):
                if self._silent:
                    continue  # swallowed, as by a router that forgot the way
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        self._over.set()
