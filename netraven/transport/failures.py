"""Where foreign exceptions become failures, and nowhere else.

What a failure is follows from how far the connection had come (:class:`Stage`) and what the device did then. A
message text is read in one case only, see :func:`login_failure`.
"""

from __future__ import annotations

import os
import socket
from enum import IntEnum

import asyncssh
from asyncssh.constants import DISC_ILLEGAL_USER_NAME, DISC_NO_MORE_AUTH_METHODS_AVAILABLE
from scrapli.exceptions import (
    ScrapliAuthenticationFailed,
    ScrapliException,
    ScrapliPrivilegeError,
    ScrapliTimeout,
)

from netraven.errors import (
    AuthNoVerdict,
    AuthRefused,
    DeviceFailure,
    DialogueTimeout,
    Negotiation,
    NetRavenError,
    NobodyListens,
    NoMethod,
    NoSshServer,
    PrivilegeRefused,
    SessionLost,
    Unreachable,
)
from netraven.plain import plain_line


class Stage(IntEnum):
    """How far a connection has come."""

    TCP = 0
    KEY_EXCHANGE = 1
    AUTHENTICATION = 2
    OFFERED = 3
    """The secret has been handed over and not been answered."""
    REFUSED = 4
    ACCEPTED = 5


_WAITED_FOR = {
    Stage.TCP: "no TCP connection within {:g} s",
    Stage.KEY_EXCHANGE: "connected, but no SSH key exchange within {:g} s",
    Stage.AUTHENTICATION: "the device did not ask for a secret within {:g} s",
    Stage.OFFERED: "no answer to the secret within {:g} s",
}

_REFUSALS = (
    DISC_NO_MORE_AUTH_METHODS_AVAILABLE,
    DISC_ILLEGAL_USER_NAME,
)


def login_timeout(stage: Stage, seconds: float) -> DeviceFailure:
    """The deadline of a connection that had come as far as ``stage`` has passed."""
    if stage is Stage.REFUSED:
        return AuthRefused("the device refused the secret")
    detail = _WAITED_FOR[min(stage, Stage.OFFERED)].format(seconds)
    if stage >= Stage.OFFERED:
        return AuthNoVerdict(detail)
    return NobodyListens(detail) if stage is Stage.TCP else Unreachable(detail)


def of_the_device(error: Exception, stage: Stage) -> bool:
    """Whether an exception of a connection that comes up is the device's doing.

    In the key exchange whatever asyncssh raises comes of what the server sent, such as a modulus that is none.
    """
    if isinstance(error, OSError | asyncssh.Error | UnicodeError):
        return True
    return stage is Stage.KEY_EXCHANGE and not isinstance(error, NetRavenError)


def login_failure(error: Exception, stage: Stage) -> DeviceFailure:
    """What ended a connection before the login was accepted.

    OpenSSH answers the last permitted wrong password with a disconnect of code 2 (protocol error) in place of a
    failure packet; only its text tells it from a real protocol error, so that text is read here.
    """
    said = plain_line(_reason(error))
    if stage is Stage.REFUSED:
        return AuthRefused("the device refused the secret")
    if stage is Stage.OFFERED:
        if isinstance(error, asyncssh.DisconnectError) and (
            error.code in _REFUSALS or "authentication failures" in error.reason.lower()
        ):
            return AuthRefused(f"the device refused the secret: {said}")
        return AuthNoVerdict(f"the connection ended before the secret was answered: {said}")
    if isinstance(error, asyncssh.PermissionDenied):
        return NoMethod("the device offers no authentication method that the credential can serve")
    if isinstance(error, asyncssh.KeyExchangeFailed):
        return Negotiation(said)
    if isinstance(error, asyncssh.ProtocolNotSupported | asyncssh.ProtocolError):
        why = f"not a usable SSH 2 server: {said}"
        return NoSshServer(why) if stage is Stage.KEY_EXCHANGE else Negotiation(why)
    if not isinstance(error, OSError | asyncssh.Error | UnicodeError):
        return Negotiation(f"the key exchange makes no sense: {said}")
    return NobodyListens(said) if stage is Stage.TCP else Unreachable(said)


def session_failure(error: BaseException) -> DeviceFailure:
    """What ended a session after the login was accepted."""
    if isinstance(error, DeviceFailure):
        return error
    if isinstance(error, TimeoutError | ScrapliTimeout):
        return DialogueTimeout("the device fell silent in the middle of the dialogue")
    if isinstance(error, ScrapliPrivilegeError | ScrapliAuthenticationFailed):
        return PrivilegeRefused(plain_line(str(error)))
    if isinstance(error, ScrapliException | OSError | asyncssh.Error):
        return SessionLost(f"the session ended: {plain_line(_reason(error))}")
    raise error


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncssh.DisconnectError):
        return error.reason or type(error).__name__
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve: {error.strerror}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
