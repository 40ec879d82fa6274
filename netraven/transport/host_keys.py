"""The host key gate: which keys a device may show before anything is sent to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import asyncssh
from asyncssh.public_key import (
    CERT_TYPE_HOST,
    SSHOpenSSHCertificate,
    decode_ssh_certificate,
    decode_ssh_public_key,
)

from netraven.errors import DeviceFailure, HostKeyChanged, HostKeyUnknown
from netraven.model import HostKey, Target


def judge(shown: HostKey, target: Target) -> bool:
    """Whether ``shown`` is new and to be remembered; False where it is on record or the policy is ``off``.

    Raises ``HostKeyChanged`` where other keys are on record or the key is revoked, ``HostKeyUnknown`` where none is
    and new ones are not accepted. A key of another algorithm than those on record is a changed key too: whoever sits
    in between would show exactly that.
    """
    key = f"{shown.fingerprint} ({shown.algorithm})"
    if any(shown == revoked for revoked in target.trust.revoked):
        raise HostKeyChanged(f"the device shows {key}, which is revoked; nothing was sent")
    if target.access.host_keys == "off" or any(shown == known for known in target.host_keys):
        return False
    if target.host_keys:
        known = ", ".join(f"{known.fingerprint} ({known.algorithm})" for known in target.host_keys)
        raise HostKeyChanged(f"the device shows {key}, on record is {known}; nothing was sent")
    if target.access.host_keys == "strict":
        raise HostKeyUnknown(f"the device shows {key}, which is not on record; nothing was sent")
    return True


@dataclass(frozen=True, slots=True)
class Shown:
    """What a device shows of itself: a key, or one with a certificate of it."""

    key: asyncssh.SSHKey
    certificate: SSHOpenSSHCertificate | None = None

    @property
    def plain(self) -> HostKey:
        """The key itself, whatever certifies it."""
        return _fact(self.key)


def shown_by(data: bytes) -> Shown | None:
    """A key or an OpenSSH certificate as on the wire; None where it is neither, or says what must be understood and
    is not (a critical option).
    """
    try:
        certificate = decode_ssh_certificate(data)
    except (asyncssh.KeyImportError, ValueError):
        pass
    else:
        if certificate.is_x509_chain:
            return None
        return Shown(certificate.key, cast(SSHOpenSSHCertificate, certificate))
    try:
        return Shown(decode_ssh_public_key(data))
    except (asyncssh.KeyImportError, ValueError):
        return None


def judge_certificate(shown: Shown, target: Target) -> bool:
    """Whether the key is let pass by its certificate; False where plain keys' rules decide.

    They do where nobody on record has signed it. A certificate of an authority on record that does not hold (expired,
    of another host) makes the gate strict: its key passes only if it is on record itself.
    """
    certificate, trust = shown.certificate, target.trust
    if certificate is None:
        return False
    signer = _fact(certificate.signing_key)
    if signer not in trust.authorities or signer in trust.revoked or shown.plain in trust.revoked:
        return False
    problem = _wrong_with(certificate, target)
    if problem is None:
        return True
    try:
        judge(shown.plain, replace(target, access=replace(target.access, host_keys="strict")))
    except DeviceFailure as failure:
        raise type(failure)(f"its certificate does not hold ({problem}); {failure.detail}") from None
    return False


def _wrong_with(certificate: SSHOpenSSHCertificate, target: Target) -> str | None:
    """The principals of a host certificate are names: that in the inventory and the one that is connected to count."""
    problem = ""
    for name in dict.fromkeys((target.device.host, target.device.name)):
        try:
            certificate.validate(CERT_TYPE_HOST, name)
        except ValueError as error:
            problem = problem or str(error).lower()
        else:
            return None
    return problem


def _fact(key: asyncssh.SSHKey) -> HostKey:
    return HostKey(key.get_algorithm(), key.public_data)
