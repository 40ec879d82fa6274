"""Keys, certificates and an agent, made by OpenSSH's own tools."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.system import program, run
from tests.ssh_agents import ssh_agent

RSA = ("-t", "rsa", "-b", "2048")
ECDSA = ("-t", "ecdsa", "-b", "256")
ED25519 = ("-t", "ed25519")


def _keygen(*words: str) -> str:
    return run(program("ssh-keygen", "openssh-client"), "-q", *words)


@dataclass(frozen=True, slots=True)
class Key:
    """A pair, in OpenSSH's formats."""

    private: str = field(repr=False)
    public: str

    @classmethod
    def new(cls, kind: tuple[str, ...] = ED25519, *, passphrase: str = "", comment: str = "test") -> Key:
        with tempfile.TemporaryDirectory(prefix="netraven-test-") as name:
            file = Path(name) / "key"
            _keygen(*kind, "-N", passphrase, "-C", comment, "-f", str(file))
            return cls(file.read_text(), file.with_suffix(".pub").read_text().strip())

    def write(self, path: Path) -> Path:
        path.write_text(self.private)
        path.chmod(0o600)
        return path


@dataclass(frozen=True, slots=True)
class Authority:
    """One that signs other keys: whoever trusts it, trusts them."""

    key: Key

    @classmethod
    def new(cls) -> Authority:
        return cls(Key.new(comment="authority"))

    @property
    def public(self) -> str:
        return self.key.public

    def certify_user(self, public: str, *principals: str, valid: str = "-5m:+1h") -> str:
        """A certificate for users of these names. ``valid`` as ssh-keygen(1) writes it: `-2h:-1h` has expired."""
        return self._certify(public, ("-V", valid, "-n", ",".join(principals)))

    def certify_host(self, public: str, *names: str, valid: str = "-5m:+1h") -> str:
        return self._certify(public, ("-h", "-V", valid, "-n", ",".join(names)))

    def known_hosts(self, pattern: str) -> str:
        """The line of a known_hosts file that trusts it for hosts like ``pattern``."""
        algorithm, encoded, *_ = self.public.split()
        return f"@cert-authority {pattern} {algorithm} {encoded}\n"

    def _certify(self, public: str, words: tuple[str, ...]) -> str:
        with tempfile.TemporaryDirectory(prefix="netraven-test-") as name:
            authority = self.key.write(Path(name) / "authority")
            file = Path(name) / "key.pub"
            file.write_text(public)
            _keygen("-s", str(authority), "-I", "test", *words, str(file))
            return (Path(name) / "key-cert.pub").read_text().strip()


@contextmanager
def agent(*keys: Key) -> Iterator[str]:
    """An ssh-agent that holds ``keys``, none with a passphrase; yields its SSH_AUTH_SOCK."""
    package = "openssh-client"
    held = (key.private for key in keys)
    with ssh_agent(*held, program=program("ssh-agent", package), add=program("ssh-add", package)) as socket:
        yield socket
