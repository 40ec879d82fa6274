"""A message sent over SMTP.

smtplib blocks, so each mail is sent in a thread of its own, whose connection is closed under it when its time is over.
What a mail server says is repeated only where it cannot hold a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import partial

from netraven.aside import aside
from netraven.errors import SecretUnreadable
from netraven.model import utcnow
from netraven.notify.letter import letter
from netraven.notify.message import Answer, Message
from netraven.notify.webhook import Reveal
from netraven.plain import plain_line

PORTS = {"starttls": 587, "tls": 465, "none": 25}
TOGETHER = 2
_TOO_LARGE = 552
_ENCODED = "=?"
"""How an encoded word of RFC 2047 begins."""


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int
    security: str
    """``starttls``, ``tls`` or ``none``."""
    username: str = ""

    @property
    def shown(self) -> str:
        return f"{self.host}:{self.port}"


def server_of(smtp: str, security: str, username: str = "") -> Server:
    """``HOST`` or ``HOST:PORT`` (``[ADDRESS]:PORT``). Raises ``ValueError``."""
    host, colon, port = smtp.rpartition(":")
    if not colon or smtp.endswith("]") or (":" in host.strip("[]") and not host.endswith("]")):
        host, port = smtp, str(PORTS[security])
    host = host.removeprefix("[").removesuffix("]")
    if not host or not host.isprintable() or " " in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("must be HOST or HOST:PORT")
    return Server(host, int(port), security, username)


def address_of(text: str) -> Address:
    """``name@host`` or ``Name <name@host>``. Raises ``ValueError``."""
    name, spec = parseaddr(text)
    user, at, host = spec.rpartition("@")
    fits = text.isprintable() and spec.isascii() and " " not in spec and _ENCODED not in text
    if not (user and at and host) or not fits:
        raise ValueError(f"{plain_line(text, 100)!r} is no mail address: name@host, or Name <name@host>")
    return Address(display_name=name, username=user, domain=host)


class Mail:
    """``password`` is asked for at every try, where the server has a ``username``."""

    together = TOGETHER

    def __init__(
        self,
        server: Server,
        sender: str,
        to: Sequence[str],
        *,
        password: Reveal | None = None,
        timeout: float,
        now: Callable[[], datetime] = utcnow,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._server = server
        self._sender = address_of(sender)
        self._to = tuple(address_of(one) for one in to)
        self._password = password
        self._timeout = timeout
        self._now = now
        self._tls = tls
        self.longest = timeout

    async def tell(self, message: Message) -> Answer:
        mail = self._composed(message)
        try:
            async with asyncio.timeout(self._timeout):
                password = await self._password() if self._password is not None else ""
        except SecretUnreadable as error:
            return Answer(plain_line(str(error)))
        except TimeoutError:
            return Answer(f"the password for {self._server.shown} was not there within {self._timeout:g} s")
        talk = _Conversation(self._server, password, self._tls, self._timeout)
        try:
            return await aside(partial(talk.send, mail), timeout=self._timeout, name="netraven-mail")
        except TimeoutError:
            if talk.taken:
                return Answer(f"{self._server.shown} took the mail", delivered=True)
            return Answer(f"{self._server.shown} did not take the mail within {self._timeout:g} s")
        finally:
            talk.hang_up()

    def _composed(self, message: Message) -> EmailMessage:
        """The same ``Message-ID`` at every try, so that a mail that came twice can be told from two."""
        written = letter(message)
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._sender
        mail["To"] = self._to
        mail["Subject"] = _as_it_is(plain_line(written.subject, 200))
        mail["Date"] = format_datetime(self._now())
        mail["Message-ID"] = f"<{message.uid}@{self._sender.domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(written.text)
        return mail


@dataclass
class _Conversation:
    """In a thread: one mail, one connection. No exception comes out of ``send`` that holds what was said."""

    server: Server
    password: str = field(repr=False)
    tls: Callable[[], ssl.SSLContext]
    timeout: float
    taken: bool = False
    """Whether the server has said that it has the mail: how the goodbye goes does not matter any more."""
    _client: smtplib.SMTP | None = None
    _over: bool = False

    def send(self, mail: EmailMessage) -> Answer:
        shown = self.server.shown
        try:
            refused = self._said(mail)
        except (OSError, smtplib.SMTPException) as error:  # an SMTPException is an OSError, a TLS fault too
            too_large = isinstance(error, smtplib.SMTPResponseException) and error.smtp_code == _TOO_LARGE
            return Answer(f"{shown} {self._why(error)}", permanent=too_large)
        if refused:
            others = ", ".join(plain_line(one, 100) for one in sorted(refused))
            return Answer(f"{shown} took the mail, but not for {others}", delivered=True)
        return Answer(f"{shown} took the mail", delivered=True)

    def _why(self, error: OSError) -> str:
        match error:
            case smtplib.SMTPAuthenticationError():  # what it says may repeat what it was sent
                why = f"does not let {plain_line(self.server.username)} log in ({error.smtp_code})"
            case smtplib.SMTPRecipientsRefused():
                code, said = next(iter(error.recipients.values()))
                why = f"refuses the recipients: {code} {_text(said)}"
            case smtplib.SMTPResponseException():
                why = f"said {error.smtp_code} {_text(error.smtp_error)}"
            case smtplib.SMTPNotSupportedError():
                why = "does not offer what settings ask for: security, or a login"
            case smtplib.SMTPServerDisconnected():
                why = "hung up"
            case ssl.SSLCertVerificationError():
                why = f"shows a certificate that is not accepted: {plain_line(error.verify_message or '')}"
            case ssl.SSLError():
                why = f"does not speak TLS as it should: {plain_line(error.reason or '')}"
            case _:
                why = f"cannot be talked to: {plain_line(error.strerror or type(error).__name__)}"
        return why

    def _said(self, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        """Send it; recipients that the server refused, where it took others."""
        server = self.server
        client: smtplib.SMTP
        if server.security == "tls":
            client = smtplib.SMTP_SSL(server.host, server.port, timeout=self.timeout, context=self.tls())
        else:
            client = smtplib.SMTP(server.host, server.port, timeout=self.timeout)
        self._client = client
        try:
            if server.security == "starttls":
                client.starttls(context=self.tls())
            if server.username:
                client.login(server.username, self.password)
            if self._over:  # nobody waits for it any more: it is sent anew later
                raise smtplib.SMTPServerDisconnected
            refused = client.send_message(mail)
            self.taken = True
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()
            return refused
        finally:
            client.close()

    def hang_up(self) -> None:
        """From the event loop: whatever the thread waits for, it waits no longer."""
        self._over = True
        client = self._client
        connection = None if client is None else client.sock
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _as_it_is(text: str) -> str:
    """``text`` without the beginning of an encoded word: :mod:`email` would decode it, and write what it hides (the end
    of the header, and another one).
    """
    return text.replace(_ENCODED, "= ?")


def _text(said: bytes | str) -> str:
    return plain_line(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said), 200)
