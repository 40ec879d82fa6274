"""Real receivers on loopback: an HTTP server and a mail server, which answer as a test says."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Posted:
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def verified(self, key: bytes) -> bool:
        """As a receiver does it: written from the specification, not with the sender's code."""
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        given = [s.partition(",") for s in self.headers["webhook-signature"].split(" ")]
        return any(name == "v1" and hmac.compare_digest(value, expected) for name, _, value in given)


Reply = bytes | str | None
"""A whole answer, a status with headers (``503 Busy\\r\\nRetry-After: 5``), or None: hang up without a word."""


@dataclass
class Receiver:
    """Answers each request with ``reply(request)``."""

    port: int = 0
    posted: list[Posted] = field(default_factory=list)
    reply: Callable[[Posted], Reply] = lambda _: "204 No Content"
    hold: asyncio.Event | None = None
    """Where set, nothing is answered before it is."""
    stay: asyncio.Event | None = None
    """Where set, it does not hang up before it is, whatever it was asked."""
    talks: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)
    at_once: int = 0
    most_at_once: int = 0

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _apart(self.talks, self._answer(reader, writer), writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {n.lower(): value.strip() for n, _, value in (line.partition(":") for line in lines)}
            posted = Posted(first, headers, await reader.readexactly(int(headers["content-length"])))
            self.posted.append(posted)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                if self.hold is not None:
                    await self.hold.wait()
                reply = self.reply(posted)
                if isinstance(reply, str):
                    reply = f"HTTP/1.1 {reply}\r\nContent-Length: 0\r\n\r\n".encode()
                if reply is not None:
                    writer.write(reply)
                    await writer.drain()
                if self.stay is not None:
                    await self.stay.wait()
            finally:
                self.at_once -= 1


async def _apart(
    talks: dict[asyncio.Task[Any], asyncio.StreamWriter],
    talk: Coroutine[Any, Any, None],
    writer: asyncio.StreamWriter,
) -> None:
    """Talk to a client, and hang up."""
    task = asyncio.current_task()
    assert task is not None
    talks[task] = writer
    try:
        await talk
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        del talks[task]


async def _close(server: asyncio.Server, talks: dict[asyncio.Task[Any], asyncio.StreamWriter]) -> None:
    server.close()
    for writer in talks.values():
        writer.transport.abort()
    if talks:
        await asyncio.wait(list(talks))
    await server.wait_closed()


@asynccontextmanager
async def receiving(
    receiver: Receiver | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """``port`` of a ``receiver`` that has been up before is used again."""
    receiver = receiver or Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        for held in (receiver.hold, receiver.stay):
            if held is not None:
                held.set()
        await _close(server, receiver.talks)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For a server on 127.0.0.1, and for clients that trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem.write_bytes(private + built.public_bytes(Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=built.public_bytes(Encoding.PEM).decode())


@dataclass
class MailServer:
    """Speaks SMTP (RFC 5321), with STARTTLS and AUTH PLAIN where it has been told how."""

    tls: ssl.SSLContext | None = None
    users: dict[str, str] = field(default_factory=dict)
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    envelopes: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    refuse: dict[str, str] = field(default_factory=dict)
    """Answers in place of the usual ones, by the beginning of the line that they answer (``RCPT TO:<b@``)."""
    silent_on: str = ""
    """Nothing is answered to a line that begins so."""

    talks: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _apart(self.talks, self._served(reader, writer), writer)

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._talk(reader, writer)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to: list[str] = []
        sender, secure, known = "", False, not self.users
        writer.write(b"220 ready\r\n")
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            verb = line.split(" ")[0].split(":")[0].upper()
            if self.silent_on and line.upper().startswith(self.silent_on.upper()):
                await reader.read()
                return
            if refusal := next(
                (said for start, said in self.refuse.items() if line.upper().startswith(start.upper())), None
            ):
                writer.write(f"{refusal}\r\n".encode())
                continue
            said = b"250 OK\r\n"
            match verb:
                case "EHLO":
                    offers = ["a test", *(["STARTTLS"] if self.tls and not secure else [])]
                    offers += ["AUTH PLAIN"] if self.users and (secure or not self.tls) else []
                    said = b"".join(
                        f"250{' ' if n == len(offers) else '-'}{one}\r\n".encode()
                        for n, one in enumerate(offers, 1)
                    )
                case "STARTTLS" if self.tls is not None:
                    writer.write(b"220 go ahead\r\n")
                    await writer.drain()
                    await writer.start_tls(self.tls)
                    secure = True
                    continue
                case "AUTH":
                    _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
                    known = self.users.get(user) == password
                    said = b"235 welcome\r\n" if known else f"535 not {user} {password}\r\n".encode()
                case "MAIL":
                    sender, to = line[10:].split(">")[0].lstrip("<"), []
                    said = said if known else b"530 who are you?\r\n"
                case "RCPT":
                    to.append(line[8:].split(">")[0].lstrip("<"))
                case "DATA":
                    writer.write(b"354 go ahead\r\n")
                    content = (await reader.readuntil(b"\r\n.\r\n"))[:-3].replace(b"\r\n..", b"\r\n.")
                    self.envelopes.append((sender, tuple(to)))
                    self.encrypted.append(secure)
                    self.raw.append(content)
                    self.mails.append(message_from_bytes(content, policy=policy.default))
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
            writer.write(said)
            await writer.drain()


@asynccontextmanager
async def taking_mail(
    server: MailServer | None = None, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[MailServer]:
    """``tls``: from the first byte on."""
    server = server or MailServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", server.port, ssl=tls, limit=1 << 22)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        await _close(listening, server.talks)
