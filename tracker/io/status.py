"""A few pages of plain text over HTTP, for whoever watches: GET, known paths, and nothing taken from the client.

One thread with one event loop serves everybody, so that a slow client holds nobody up: ``http.server`` would need a
thread for each, and sets no time for a request as a whole. Whatever bytes come in, the answer is a page, a status of
4xx, or a closed connection, and it is counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from tracker.errors import UserError

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 8192  # request line and headers; Prometheus sends some 300
EXCHANGE_S = 5.0  # for all of one exchange; Prometheus waits 10 s for it
MAX_CLIENTS = 32  # at once; of more the one that came first goes
_MAX_REST_BYTES = 1 << 16  # what is still read of a refused request, so that its client gets the answer
_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]\r\n")
_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # also what Prometheus calls its format


@dataclass(frozen=True)
class Page:
    """An answer: its HTTP status and its text."""

    text: str
    status: int = HTTPStatus.OK


@dataclass
class StatusCounts:
    """What clients did: every connection ends as one of these."""

    answered: int = 0  # with a page of ours, whatever its status
    refused: int = 0  # with 4xx: no request of ours
    closed: int = 0  # without an answer: too slow, gone, or too many at once
    failed: int = 0  # a page of ours broke; 500


class StatusServer:
    """Pages by path, served by a thread of its own. Used in a ``with``."""

    def __init__(
        self,
        endpoint: str,
        pages: Mapping[str, Callable[[], Page]],
        *,
        insecure: bool = False,
        exchange_s: float = EXCHANGE_S,
    ) -> None:
        """Listen. From here on pages are asked for in another thread.

        Args:
            endpoint: ``HOST:PORT``; port 0 takes a free one, see ``endpoint`` then.
            insecure: The host may be one that other machines reach.

        Raises:
            UserError: other machines could reach it.
            OSError: it cannot be listened on.
        """
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]")
        if not insecure and not is_loopback(host):
            raise UserError(
                f"live.http: {endpoint}: other machines could read there how this site is doing, without a key; set "
                "live.http_insecure: true if this network is yours alone"
            )
        if int(port) > 65535:
            raise OSError("ports end at 65535")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, int(port)), family=family, backlog=4 * MAX_CLIENTS)
        self.endpoint = f"{endpoint.rpartition(':')[0]}:{self._socket.getsockname()[1]}"
        self.counts = StatusCounts()
        self._pages, self._exchange_s = dict(pages), exchange_s
        self._clients: dict[asyncio.WriteTransport, None] = {}  # in the order in which they came
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; whoever is connected is hung up on."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._meet, sock=self._socket, limit=MAX_HEAD_BYTES)
        await self._over.wait()
        server.close()
        for client in list(self._clients):
            client.abort()
        everybody = asyncio.all_tasks() - {asyncio.current_task()}
        for task in everybody:
            task.cancel()
        await asyncio.gather(*everybody, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = writer.transport
        if len(self._clients) >= MAX_CLIENTS:
            first = next(iter(self._clients))
            del self._clients[first]  # now: who comes next must not find the same one
            first.abort()
        self._clients[client] = None
        said = False
        try:
            async with asyncio.timeout(self._exchange_s):
                page = await self._page(reader)
                if page is not None:
                    writer.write(_as_http(page))
                    await writer.drain()
                    writer.write_eof()
                    said = True
                    for _ in range(_MAX_REST_BYTES // MAX_HEAD_BYTES):
                        if not await reader.read(MAX_HEAD_BYTES):
                            break
        except (TimeoutError, OSError, asyncio.CancelledError):
            pass  # counted below; who is slow or gone, or hung up on when all closes, is no news
        finally:
            self._clients.pop(client, None)
            client.abort()
            if not said:
                self.counts.closed += 1
            elif page is not None:  # always: for the type checker
                kind = "failed" if page.status == HTTPStatus.INTERNAL_SERVER_ERROR else "answered"
                kind = "refused" if 400 <= page.status < 500 else kind
                setattr(self.counts, kind, getattr(self.counts, kind) + 1)

    async def _page(self, reader: asyncio.StreamReader) -> Page | None:
        """The answer to what one client says; None where it goes before it has said anything whole."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except asyncio.IncompleteReadError:
            return None
        found = _REQUEST.match(head)
        if found is None:
            return _refusal(HTTPStatus.BAD_REQUEST)
        if found[1] != b"GET":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        page = self._pages.get(found[2].decode("ascii").partition("?")[0])
        if page is None:
            return _refusal(HTTPStatus.NOT_FOUND)
        try:
            return page()
        except Exception:
            # A page that breaks costs its reader an answer, not the others the server.
            if not self.counts.failed:
                log.exception("a status page failed (further ones are counted)")
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n", status)


def _as_http(page: Page) -> bytes:
    body = page.text.encode()
    head = [
        f"HTTP/1.1 {int(page.status)} {HTTPStatus(page.status).phrase}",
        f"Content-Type: {_TYPE}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status == HTTPStatus.METHOD_NOT_ALLOWED:
        head.append("Allow: GET")
    return "\r\n".join([*head, "", ""]).encode("ascii") + body
