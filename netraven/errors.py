"""The failure tree.

Every way in which a device can fail is a class here, and what the class permits is written on it, so that no caller
decides from a message text. The table in ``docs/explanation/failures.md`` is generated from these attributes.

Two roots: :class:`DeviceFailure` is about one device and ends in an ``Outcome``; :class:`NetRavenError` is about
the operator's input or the installation and ends the command with a message that says what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from netraven.model import Capture


class NetRavenError(Exception):
    """Something the operator can mend. The message says what is wrong and what to do about it."""


class SettingsError(NetRavenError):
    """A settings file, key or value that cannot be used."""


class InputError(NetRavenError):
    """What was asked for does not fit: an unknown name or tag, a bad file. Nothing was changed."""


class SecretUnreadable(NetRavenError):
    """A stored secret cannot be opened (wrong or missing key, moved or damaged ciphertext). It was never sent."""


class KeyringError(NetRavenError):
    """The key that seals stored secrets is missing, malformed, or readable by others."""


class DatabaseError(NetRavenError):
    """The database cannot be used as it is: absent, locked, read-only, full, or of another version."""


class DatabaseUnfit(DatabaseError):
    """No such database, of another version, or a URL that says nothing: it does not get better by waiting."""


class RowRefused(DatabaseError):
    """The database is well, but will not take this entry (its device was removed, a constraint is broken)."""


class RecorderStopped(NetRavenError):
    """What happened can no longer be put on record, so nothing further may happen: the run stops."""


class RunLost(RecorderStopped):
    """The run is another process's, or has ended: nothing of it is sent or written by this one any more."""


class GitError(NetRavenError):
    """A git repository that cannot be written, read or pushed as it is. What was in it before is still there."""


class DeviceFailure(Exception):
    """What went wrong with one device in one run.

    :cvar reason: the class name that stands in outcomes, logs and JSON (``error_type``).
    :cvar tries_next_credential: whether another credential may be offered to the device in this run.
    :cvar retriable: whether the same may be tried again later in this run, after a backoff.
    :cvar moves_success_rate: whether the verdict lowers the credential's success rate.
    :cvar spends_budget: whether the attempt counts against the account's lockout budget.
    :cvar logged_in: whether the device had accepted the credential before it failed.
    """

    reason: ClassVar[str]
    tries_next_credential: ClassVar[bool] = False
    retriable: ClassVar[bool] = False
    moves_success_rate: ClassVar[bool] = False
    spends_budget: ClassVar[bool] = False
    logged_in: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        """One line for a person; already free of control characters and of secrets."""
        self.captured: tuple[Capture, ...] = ()
        """What was complete before it failed."""


class AuthRefused(DeviceFailure):
    """The device said no to the secret."""

    reason = "auth_refused"
    tries_next_credential = True
    moves_success_rate = True
    spends_budget = True


class AuthNoVerdict(DeviceFailure):
    """The connection was cut or went silent after the secret had been offered."""

    reason = "auth_no_verdict"
    retriable = True
    spends_budget = True


class Unreachable(DeviceFailure):
    """No connection on which a secret could have been offered: DNS, refused, no route, silence."""

    reason = "unreachable"
    retriable = True


class NobodyListens(Unreachable):
    """No TCP connection came to stand."""


class HostKeyChanged(DeviceFailure):
    """The device shows another host key than the one on record. Nothing was sent; a person decides."""

    reason = "host_key_changed"


class HostKeyUnknown(DeviceFailure):
    """The device's host key is not on record and the policy does not accept new ones. Nothing was sent."""

    reason = "host_key_unknown"


class Negotiation(DeviceFailure):
    """No common algorithm or authentication method. Nothing was sent."""

    reason = "negotiation"


class NoSshServer(Negotiation):
    """Somebody answers, but does not speak SSH 2. Nothing was sent."""


class NoMethod(Negotiation):
    """The device offers no authentication method that this credential can serve. Nothing was sent."""

    tries_next_credential = True


class PrivilegeRefused(DeviceFailure):
    """Logged in, but the device did not grant the privilege level that its commands need."""

    reason = "privilege_refused"
    logged_in = True


class SessionLost(DeviceFailure):
    """The device dropped the session after the login."""

    reason = "session_lost"
    retriable = True
    logged_in = True


class DialogueTimeout(DeviceFailure):
    """The device fell silent after the login, or took longer than it was given."""

    reason = "dialogue_timeout"
    retriable = True
    logged_in = True


class CommandRejected(DeviceFailure):
    """The device answered a command with an error."""

    reason = "command_rejected"
    logged_in = True


class OutputIncomplete(DeviceFailure):
    """The output ended without the device's prompt, or was empty; it is not stored as a version."""

    reason = "output_incomplete"
    logged_in = True


class OutputTooLong(DeviceFailure):
    """The device did not stop talking: its output was cut off at the limit and is not stored."""

    reason = "output_too_long"
    logged_in = True


class PlatformUnknown(DeviceFailure):
    """The platform was to be found out and was not recognised, so no command was run for its configuration."""

    reason = "platform_unknown"
    logged_in = True


class InternalFault(DeviceFailure):
    """A fault of ours. The traceback is in the log, the run goes on."""

    reason = "internal"


FAILURES: tuple[type[DeviceFailure], ...] = (
    AuthRefused,
    AuthNoVerdict,
    Unreachable,
    HostKeyChanged,
    HostKeyUnknown,
    Negotiation,
    PrivilegeRefused,
    SessionLost,
    DialogueTimeout,
    CommandRejected,
    OutputIncomplete,
    OutputTooLong,
    PlatformUnknown,
    InternalFault,
)
"""Every failure class, in the order of a connection's life. A subclass goes under the name of its class:
``NobodyListens`` under ``Unreachable``, ``NoMethod`` and ``NoSshServer`` under ``Negotiation``."""
