"""JSON over HTTPS: one POST for a batch, a JSON array of events.

Rule: a batch is taken when the answer is 2xx, and only then. A redirect is an error: the token would follow it.

`Idempotency-Key` is made of the ids in a batch, so that a receiver can tell one that comes again.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import ssl
from collections.abc import Sequence
from typing import Final

import msgspec

from mcpguard import __version__, limits
from mcpguard.audit.event import Event
from mcpguard.audit.formats import PAYLOADS
from mcpguard.model import visible
from mcpguard.system.delivery import SinkError, bearer, reason, tls
from mcpguard.system.sinkfile import Sink

_TOO_LARGE: Final = 413
_BUSY: Final = (429, 503)
_MOST_WAIT: Final = 300.0
_SHOWN: Final = 200


class HttpsSink:
    """One receiver; `hostname` is what OCSF calls this machine."""

    def __init__(self, sink: Sink, hostname: str) -> None:
        self._sink = sink
        self._hostname = hostname
        self._connection: http.client.HTTPSConnection | None = None
        url = sink.url
        self._path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"

    def send(self, events: Sequence[Event]) -> None:
        """Hand over events; a batch that is too large for the receiver goes in halves.

        Raises:
            SinkError: It cannot be reached, its certificate is not accepted, or it answers anything but 2xx.
        """
        write = PAYLOADS[self._sink.format]
        status, error = self._posted(events, [write(event, self._hostname) for event in events])
        if status != _TOO_LARGE:
            if error:
                raise error
            return
        if len(events) > 1:
            half = len(events) // 2
            self.send(events[:half])
            self.send(events[half:])
            return
        (event,) = events
        left_out = {"event_id": event.id, "type": event.record.type, "cut": True, "bytes": len(event.line)}
        _, error = self._posted(events, [msgspec.json.encode(left_out).decode()])
        if error:
            raise error

    def look(self) -> None:
        """Nothing to see: each batch is answered."""

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def _posted(self, events: Sequence[Event], texts: list[str]) -> tuple[int, SinkError | None]:
        key = hashlib.sha256("".join(event.id for event in events).encode()).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"mcpguard/{__version__}",
            "Idempotency-Key": key,
        }
        if self._sink.token_file:
            headers["Authorization"] = f"Bearer {bearer(self._sink.token_file)}"
        body = f"[{','.join(texts)}]".encode()
        try:
            answer, said = self._exchanged(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            why = reason(error) if isinstance(error, OSError) else f"no HTTP answer: {error!r}"
            raise SinkError(f"{self._sink.to}: {visible(why)}") from error
        if answer.will_close or not answer.isclosed():
            self.close()
        if 200 <= answer.status < 300:
            return answer.status, None
        words = visible(said[:_SHOWN].decode("utf-8", "replace").strip())
        hint = (
            "redirects are not followed; write the address that it leads to"
            if 300 <= answer.status < 400
            else ""
        )
        wait = _seconds(answer.getheader("Retry-After")) if answer.status in _BUSY else 0.0
        return answer.status, SinkError(
            f"{self._sink.to}: answers {answer.status} {words}".rstrip(), hint=hint, wait=wait
        )

    def _exchanged(self, body: bytes, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        """One request and its answer; a connection that the receiver has closed while it was idle is made anew."""
        if self._connection is not None:
            try:
                return _exchange(self._connection, self._path, body, headers)
            except (ConnectionError, ssl.SSLEOFError):
                self.close()
        self._connection = self._connected()
        return _exchange(self._connection, self._path, body, headers)

    def _connected(self) -> http.client.HTTPSConnection:
        url = self._sink.url
        context: ssl.SSLContext = tls(self._sink.ca)
        return http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=limits.SINK_SECONDS, context=context
        )


def _exchange(
    connection: http.client.HTTPSConnection, path: str, body: bytes, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    return answer, answer.read(limits.ANSWER_BYTES)


def _seconds(header: str | None) -> float:
    """What `Retry-After` asks for; a date is not looked at."""
    return min(float(header), _MOST_WAIT) if header and header.isascii() and header.isdigit() else 0.0
