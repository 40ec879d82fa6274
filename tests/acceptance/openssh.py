"""OpenSSH's own server on a loopback port, asking for whatever a test wants it to ask for."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.ssh_keys import Authority
from tests.acceptance.system import (
    Daemon,
    User,
    free_port,
    program,
    public_file,
    public_folder,
    run,
    unique_name,
)

LEGACY = (
    "KexAlgorithms diffie-hellman-group14-sha1",
    "HostKeyAlgorithms ssh-rsa",
    "Ciphers aes128-cbc",
    "MACs hmac-sha1",
)
"""All that an old device knows. Wants ``host_key="rsa"``."""
TELLS_WHERE_TO = "LogLevel DEBUG1"
"""For a jump host: its log says where connections through it lead to."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a user proves who it is: lines of sshd_config(5), and the files that they speak of."""

    options: tuple[str, ...]
    authorized: tuple[str, ...] = ()
    """Public keys, as lines of authorized_keys."""
    user_authority: Authority | None = None
    """Whose certificates open it."""
    pam: bool = False
    """Asked through PAM, where pam_unix judges the password."""

    @classmethod
    def key(cls, *public: str) -> Access:
        return cls(("PasswordAuthentication no", "PubkeyAuthentication yes"), public)

    @classmethod
    def certificate(cls, authority: Authority) -> Access:
        return cls(("PasswordAuthentication no", "PubkeyAuthentication yes"), user_authority=authority)

    @classmethod
    def key_and_password(cls, *public: str) -> Access:
        """Both, the key first: either alone opens nothing."""
        return cls(("PubkeyAuthentication yes", "AuthenticationMethods publickey,password"), public)

    @classmethod
    def key_and_questions(cls, *public: str) -> Access:
        """Both, the key first; the password is asked for by PAM."""
        options = (*KEYBOARD_INTERACTIVE.options, "PubkeyAuthentication yes")
        return cls((*options, "AuthenticationMethods publickey,keyboard-interactive"), public, pam=True)


PASSWORD = Access(("PasswordAuthentication yes",))
KEYBOARD_INTERACTIVE = Access(
    ("UsePAM yes", "PasswordAuthentication no", "KbdInteractiveAuthentication yes"), pam=True
)
"""Questions by PAM, and nothing else."""


@dataclass(frozen=True, slots=True)
class Sshd:
    """A running server. ``log`` is its own account of who tried what."""

    port: int
    user: str
    password: str = field(repr=False)
    log: Path
    host_key: str
    """The public one, as in known_hosts: algorithm and key."""
    daemon: Daemon

    def said(self, pattern: str) -> list[str]:
        return re.findall(pattern, self.log.read_text())

    @property
    def connections(self) -> int:
        """TCP connections so far."""
        return len(self.said(r"(?m)^Connection from "))

    @property
    def forwarded(self) -> list[tuple[str, int]]:
        """Where connections through it led to so far, see :data:`TELLS_WHERE_TO`."""
        line = re.compile(r"server_request_direct_tcpip: originator .* target (\S+) port (\d+)")
        return [(found[1], int(found[2])) for found in line.finditer(self.log.read_text())]


def _knows(sshd: str, option: str) -> bool:
    """Whether this version has the option at all: it complains of one that it does not know before anything else."""
    words = (sshd, "-t", "-f", "/dev/null", "-o", option)
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    return "Bad configuration option" not in said


@contextmanager
def _pam_service(sshd: str, folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The sshd to run and its options, so that PAM asks a service that is there for this one alone.

    The service is named after the program that was started, in newer versions by a setting. The system's own service
    is left alone: it may want what a container lacks (pam_loginuid), or forbid a user like ours.
    """
    name = unique_name()
    file = Path("/etc/pam.d") / name
    with file.open("x") as service:
        service.write(
            "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n"
        )
    try:
        renamed = folder / name
        renamed.symlink_to(sshd)
        option = f"PAMServiceName {name}"
        yield str(renamed), (option,) if _knows(sshd, option) else ()
    finally:
        file.unlink()


@asynccontextmanager
async def running(
    folder: Path,
    user: User,
    *options: str,
    access: Access = PASSWORD,
    host_key: str = "ed25519",
    host_authority: Authority | None = None,
) -> AsyncIterator[Sshd]:
    """``options`` are lines of sshd_config(5), which go before ours: the first one of a kind holds.

    Without a ``ForceCommand`` it is a jump host too, with sshd's own limits for sessions and for those not logged in.
    """
    sshd = program("sshd", "openssh-server")
    folder.mkdir()
    Path("/run/sshd").mkdir(
        mode=0o755, exist_ok=True
    )  # where it separates its privileges, as Debian builds it
    key = folder / "hostkey"
    run(program("ssh-keygen", "openssh-client"), "-q", "-t", host_key, "-N", "", "-f", str(key))
    public = key.with_suffix(".pub").read_text()
    lines = [*options, *access.options]
    with contextlib.ExitStack() as stack:
        readable = stack.enter_context(public_folder())  # sshd reads keys as the user who logs in
        if access.pam:
            sshd, more = stack.enter_context(_pam_service(sshd, readable))
            lines += more
        if access.authorized:
            keys = public_file(readable / "authorized_keys", "\n".join(access.authorized) + "\n")
            lines.append(f"AuthorizedKeysFile {keys}")
        if access.user_authority is not None:
            authority = public_file(readable / "user_ca.pub", access.user_authority.public + "\n")
            lines.append(f"TrustedUserCAKeys {authority}")
        if host_authority is not None:
            certificate = folder / "hostkey-cert.pub"
            certificate.write_text(host_authority.certify_host(public, "127.0.0.1"))
            lines.append(f"HostCertificate {certificate}")
        if _knows(sshd, penalties := "PerSourcePenalties no"):
            lines.append(penalties)  # all of a test's clients come from one address
        port = free_port()
        lines += [
            f"Port {port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {key}",
            "PidFile none",
            "UsePAM no",
            "PasswordAuthentication yes",
            "KbdInteractiveAuthentication no",
            "PubkeyAuthentication no",
            f"AllowUsers {user.name}",
            "PrintMotd no",
            "StrictModes no",
            "LogLevel VERBOSE",
        ]
        (folder / "sshd_config").write_text("\n".join([*lines, ""]))
        words = (sshd, "-D", "-e", "-f", str(folder / "sshd_config"))
        async with Daemon.running(*words, log=folder / "sshd.log", ready="Server listening") as daemon:
            algorithm, encoded, *_ = public.split()
            yield Sshd(port, user.name, user.password, daemon.log, f"{algorithm} {encoded}", daemon)
