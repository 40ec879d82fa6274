"""A message posted to a URL, signed as the Standard Webhooks specification has it.

HTTP/1.1 over asyncio's streams: one request on one connection, so that the deadline is real and being cancelled ends
it. No redirect is followed: a signed message goes to the address that settings name and to no other. Neither the URL
nor anything that was answered is told to anybody: a chat's URL is itself a secret, and a receiver may repeat it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import email.utils
import hmac
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import SplitResult, unquote, urlsplit

from netraven.errors import SecretUnreadable
from netraven.model import utcnow
from netraven.notify.message import Answer, Message
from netraven.notify.payload import body
from netraven.plain import plain_line

Reveal = Callable[[], Awaitable[str]]
"""Gives a secret when it is needed; may raise ``SecretUnreadable``."""

LONGEST_HEAD = 16 * 1024
LONGEST_BODY = 4 * 1024
"""Bytes of an answer's body that are read, and thrown away: who hangs up sooner may disturb the receiver."""
GOODBYE = 0.25
"""Seconds for that. A receiver that says nothing more, and does not hang up, has answered all the same."""
TOGETHER = 8
_NEVER = frozenset({400, 406, 409, 410, 411, 413, 414, 415, 422, 431})
"""Answers to the message itself: the same one again is answered so again. All others may be mended at the receiver
or in the settings (401, 403, 404 ... a wrong address or key), so it is worth keeping the message."""
_KEY_PREFIX = "whsec_"


@dataclass(frozen=True, slots=True)
class Address:
    """Where to post. Only ``shown`` may be told to anybody."""

    host: str
    port: int
    tls: bool
    target: str = field(repr=False)
    credentials: str = field(default="", repr=False)
    """``user:password`` of the URL."""

    @property
    def shown(self) -> str:
        return self.netloc if self.tls else f"http://{self.netloc}"

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def address_of(url: str) -> Address:
    """Raises ``ValueError``, which says what is wrong and does not repeat the URL."""
    if not url.isprintable() or " " in url or not url.isascii():
        raise ValueError("it holds spaces, or characters that a URL has to write as %XX")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("it is no URL") from None
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError("it must begin with https:// (or http://) and name a host")
    tls = parts.scheme == "https"
    return Address(parts.hostname, port or (443 if tls else 80), tls, _target(parts), _credentials(parts))


def _target(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _credentials(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    return f"{unquote(parts.username)}:{unquote(parts.password or '')}"


def key_of(secret: str) -> bytes:
    """``whsec_`` and base64, or the key as it is. Raises ``ValueError``."""
    if not secret.startswith(_KEY_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_KEY_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError("after whsec_ it is not base64") from None


def signature(key: bytes, uid: str, timestamp: int, content: bytes) -> str:
    """``v1,`` and base64 of HMAC-SHA256 over ``uid.timestamp.content``."""
    signed = b".".join((uid.encode(), str(timestamp).encode(), content))
    return "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()


class Webhook:
    """``url`` and ``secret`` are asked for at every try; without ``secret`` nothing is signed."""

    together = TOGETHER

    def __init__(
        self,
        url: Reveal,
        secret: Reveal | None,
        *,
        timeout: float,
        now: Callable[[], datetime] = utcnow,
        agent: str = "NetRaven",
    ) -> None:
        self._url = url
        self._secret = secret
        self._timeout = timeout
        self._now = now
        self._agent = agent
        self._tls: ssl.SSLContext | None = None
        self.longest = timeout + GOODBYE

    async def tell(self, message: Message) -> Answer:
        address: Address | None = None
        try:
            async with asyncio.timeout(self._timeout) as deadline:
                address = address_of(await self._url())
                key = key_of(await self._secret()) if self._secret is not None else None
                return await self._post(address, message, key, deadline)
        except SecretUnreadable as error:
            return Answer(plain_line(str(error)))
        except TimeoutError:
            return Answer(f"{_shown(address)} did not answer within {self._timeout:g} s")
        except ssl.SSLCertVerificationError as error:
            why = plain_line(error.verify_message or "not trusted")
            return Answer(f"{_shown(address)} shows a certificate that is not accepted: {why}")
        except ssl.SSLError as error:
            return Answer(
                f"{_shown(address)} does not speak TLS as it should: {plain_line(error.reason or '')}"
            )
        except ValueError as error:  # after the certificate's fault, which is one too
            return Answer(f"{'the secret' if address else 'the URL'} cannot be used: {error}")
        except asyncio.IncompleteReadError:
            return Answer(f"{_shown(address)} hung up without an answer")
        except (OSError, asyncio.LimitOverrunError) as error:
            return Answer(f"{_shown(address)}: {_why(error)}")

    async def _post(
        self, address: Address, message: Message, key: bytes | None, deadline: asyncio.Timeout
    ) -> Answer:
        content = body(message)
        tls = self._context() if address.tls else None
        reader, writer = await asyncio.open_connection(
            address.host, address.port, ssl=tls, limit=LONGEST_HEAD
        )
        try:
            with contextlib.suppress(ConnectionError):  # it may have answered and hung up before it read all
                writer.write(self._head(address, message.uid, content, key) + content)
                await writer.drain()
            status, retry_after = await _answer(reader, self._now)
            deadline.reschedule(None)  # it has answered: what follows can no longer change that
            with contextlib.suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(GOODBYE):
                    await reader.read(LONGEST_BODY)
        finally:
            writer.transport.abort()  # nothing more is to be sent, and nobody waits for a slow goodbye
        return _judged(address, status, retry_after)

    def _head(self, address: Address, uid: str, content: bytes, key: bytes | None) -> bytes:
        timestamp = int(self._now().timestamp())
        fields = {
            "Host": address.netloc,
            "User-Agent": self._agent,
            "Content-Type": "application/json",
            "Content-Length": str(len(content)),
            "Connection": "close",
            "webhook-id": uid,
            "webhook-timestamp": str(timestamp),
        }
        if key is not None:
            fields["webhook-signature"] = signature(key, uid, timestamp, content)
        if address.credentials:
            given = base64.b64encode(address.credentials.encode()).decode()
            fields["Authorization"] = f"Basic {given}"
        lines = [f"POST {address.target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


async def _answer(reader: asyncio.StreamReader, now: Callable[[], datetime]) -> tuple[int, float | None]:
    """The status, and the seconds of ``Retry-After``. Answers of the 100s are not the answer yet."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        if not version.startswith("HTTP/1.") or not status[:3].isdecimal() or not status[:3].isascii():
            raise ConnectionError("what answers does not speak HTTP")
        number = int(status[:3])
        if not 100 <= number < 200:
            break
    for line in rest:
        name, _, value = line.partition(":")
        if name.strip().lower() == "retry-after":
            return number, _seconds(value.strip(), now())
    return number, None


def _seconds(value: str, now: datetime) -> float | None:
    """``Retry-After`` is a number of seconds or a date (RFC 9110, section 10.2.3)."""
    if value.isdecimal() and len(value) < 10:
        return float(value)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(value) - now).total_seconds())
    except (TypeError, ValueError):
        return None


def _judged(address: Address, status: int, retry_after: float | None) -> Answer:
    said = f"{address.shown} answered with HTTP {status}"
    if 200 <= status < 300:
        return Answer(said, delivered=True)
    if 300 <= status < 400:
        return Answer(f"{said}: redirects are not followed, so settings have to name the address itself")
    return Answer(said, permanent=status in _NEVER, retry_after=retry_after)


def _shown(address: Address | None) -> str:
    return address.shown if address is not None else "what the secret is kept in"


def _why(error: BaseException) -> str:
    if isinstance(error, asyncio.LimitOverrunError):
        return "the head of its answer has no end"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, OSError) and error.strerror:
        return plain_line(error.strerror)
    return plain_line(str(error)) or "the connection broke"
