"""Refuses every request that the page itself never sends, before Gradio sees it.

Gradio serves much that this page does not use: it fetches addresses for whoever asks, streams, and scales icons to any size.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 16 * 2**20  # bytes of an event: the values of one class, and paths of uploads
FILE = "/gradio_api/file="
GET = re.compile(
    r"/|/(config|theme\.css|manifest\.json|favicon\.ico|robots\.txt)|/(assets|static|svelte)/[\w./-]+"
    r"|/gradio_api/(startup-events|info|app_id|theme\.css|queue/data|upload_progress|heartbeat/\w+)"
)
POST = re.compile(r"/gradio_api/(queue/join|upload|cancel|reset)/?")


class Refused(Exception):
    """A request that is not served: status code and reason."""


class Guard:
    """ASGI middleware around Gradio's application.

    Args:
        app: the application.
        folder: the only one whose files are served.
    """

    def __init__(self, app: ASGIApp, folder: Path):
        self.app, self.folder = app, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        started = False

        async def sending(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self._check_address(scope)
            if scope["method"] == "POST" and not scope["path"].startswith("/gradio_api/upload"):
                receive = _again(await _checked_body(receive), receive)
            await self.app(scope, receive, sending)
        except Exception as error:
            if started:
                raise
            status, reason = error.args if isinstance(error, Refused) else (500, "The request cannot be answered.")
            if isinstance(error, KeyError):  # Gradio looks events up by number
                status, reason = 400, "The page has no such event."
            elif not isinstance(error, Refused):
                logging.exception("a request to the page")
            await PlainTextResponse(reason, status)(scope, receive, send)

    def _check_address(self, scope: Scope) -> None:
        method, path = scope.get("method"), scope["path"]
        if method in ("GET", "HEAD") and path.startswith(FILE):
            if not path.isprintable() or not Path(path.removeprefix(FILE)).resolve().is_relative_to(self.folder):
                raise Refused(403, "This file is not served.")
        elif not (POST if method == "POST" else GET).fullmatch(path) or method not in ("GET", "HEAD", "POST"):
            raise Refused(404, "The page has no such address.")


async def _checked_body(receive: Receive) -> bytes:
    """Return the JSON that an event sends.

    Raises:
        Refused: it is too large, no JSON object, holds what no text can, or names a file elsewhere.
    """
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY:
            raise Refused(413, f"The request is larger than {MAX_BODY // 2**20} MB.")
    try:
        event = json.loads(body)
        json.dumps(event, ensure_ascii=False, allow_nan=False).encode()  # no NaN, no lone surrogate
    except (ValueError, RecursionError):
        raise Refused(400, "The request is no JSON that can be read.") from None
    if not isinstance(event, dict):
        raise Refused(400, "The request is no JSON object.")
    if any(re.match("https?:", path, re.IGNORECASE) for path in _paths(event)):
        raise Refused(400, "Only uploaded files are read.")
    return bytes(body)


def _paths(value: object) -> Iterator[str]:
    """Return every path of a file in an event."""
    if isinstance(value, dict):
        if isinstance(value.get("path"), str):
            yield value["path"]
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _paths(each)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a channel that gives the body, which was read already, and then what comes after it."""
    waiting = [body]

    async def channel() -> Message:
        return {"type": "http.request", "body": waiting.pop(), "more_body": False} if waiting else await receive()

    return channel
