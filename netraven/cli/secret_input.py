"""Secrets come in through stdin, the environment, a key file or a prompt. Never as an argument."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from netraven.cli.screen import warn
from netraven.credentials.key_text import is_sealed
from netraven.errors import InputError
from netraven.model import Secret, utcnow

_LONGEST = 64 * 1024
_HOW = "give it with --password-stdin, --password-env VAR or --private-key FILE (or be on a terminal to be asked)"


def given(stdin: bool, variable: str | None, key_file: str | None, enable_variable: str | None) -> Secret:
    """What the options hold of a secret, but for what belongs to its key."""
    return Secret(
        password=password_from_stdin() if stdin else secret_from_environment(variable) if variable else None,
        private_key=private_key_from_file(key_file) if key_file else None,
        enable=secret_from_environment(enable_variable) if enable_variable else None,
    )


def parts_of_key(passphrase_variable: str | None, certificate: str | None) -> dict[str, str]:
    """What belongs to a private key, as far as it is given."""
    parts = {}
    if passphrase_variable:
        parts["passphrase"] = secret_from_environment(passphrase_variable)
    if certificate:
        parts["certificate"] = certificate_from_file(certificate)
    return parts


def source_of(source: str | None, agent: str | None, *, password: bool) -> str | None:
    """The source that two options may name; one that gives the password itself bears none beside it."""
    if source is not None and password:
        raise InputError("--source is not allowed with a password: it gives the secret")
    return source if agent is None else f"agent:{agent}"


def check_given(secret: Secret, username: str, file: str | None, source: str | None) -> None:
    """Refuse a key that cannot serve, and warn of a certificate that will not."""
    if secret.private_key and file:
        if complaint := check_key(secret, username, file):
            warn(complaint)
    elif (secret.passphrase or secret.certificate) and source is None:
        raise InputError(
            "--passphrase-env and --certificate belong to a key: give --private-key FILE as well"
        )


def password_from_stdin() -> str:
    """One line; its end is not part of the password."""
    if sys.stdin.isatty():
        return password_from_prompt()
    data = sys.stdin.buffer.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise InputError("what comes on stdin is too long to be a password")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError("what comes on stdin is not UTF-8") from error
    line = text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text.removesuffix("\n")
    if "\n" in line:
        raise InputError("more than one line came on stdin: the password has to be the only one")
    return _usable(line, "the password on stdin")


def secret_from_environment(variable: str) -> str:
    if variable not in os.environ:
        raise InputError(f"there is no environment variable {variable}")
    return _usable(os.environ[variable], f"${variable}")


def password_from_prompt() -> str:
    from getpass import getpass

    if not sys.stdin.isatty():
        raise InputError(f"no password: {_HOW}")
    try:
        first = getpass("Password: ")
        second = getpass("Once more: ")
    except EOFError as error:
        raise InputError("no password was typed") from error
    if first != second:
        raise InputError("the two differ; nothing was changed")
    return _usable(first, "the password")


def private_key_from_file(file: str) -> str:
    """The text of an SSH private key; whether it opens is told by :func:`check_key`."""
    text = _text_of(file, "a private key")
    if text.startswith("PuTTY-User-Key-File"):
        raise InputError(
            f"{file}: is PuTTY's format: puttygen {file} -O private-openssh -o NEWFILE converts it"
        )
    if text.startswith(("ssh-", "ecdsa-")) or "PUBLIC KEY" in text:
        raise InputError(f"{file}: is a public key; the private one has no .pub at its end")
    if "PRIVATE KEY-----" not in text:
        raise InputError(f"{file}: is not a private key")
    return text


def certificate_from_file(file: str) -> str:
    """The line of an OpenSSH user certificate, as ssh-keygen -s writes it to a file that ends in -cert.pub."""
    text = _text_of(file, "a certificate").strip()
    if "-cert-v01@openssh.com " not in text.partition("\n")[0] + " ":
        raise InputError(f"{file}: is no OpenSSH certificate; ssh-keygen -s writes one to KEY-cert.pub")
    return text


def _text_of(file: str, what: str) -> str:
    try:
        with Path(file).expanduser().open("rb") as source:
            data = source.read(_LONGEST + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    if len(data) > _LONGEST:
        raise InputError(f"{file}: is too large to be {what}")
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        pass
    raise InputError(f"{file}: is not {what}: it holds other bytes than text")


def check_key(secret: Secret, username: str, file: str) -> str | None:
    """Open the key, sign with it, and look at its certificate; what a server may have against it, None where nothing.

    Raises ``InputError`` for a key that cannot serve.
    """
    from netraven.transport.keys import UnusableKey, open_key, wrong_with_certificate

    if secret.passphrase is None and is_sealed(secret.private_key or ""):
        raise InputError(
            f"{file}: is protected by a passphrase: give it with --passphrase-env VAR; it is stored sealed, as the key"
        )
    try:
        open_key(secret).sign(b"netraven")
        if secret.certificate is not None:
            return wrong_with_certificate(secret.certificate, username, utcnow())
    except UnusableKey as error:
        raise InputError(f"{file}: {error}") from None
    except (ValueError, TypeError, NotImplementedError):
        raise InputError(f"{file}: is a private key of a kind that SSH does not log in with") from None
    return None


def _usable(secret: str, what: str) -> str:
    if not secret:
        raise InputError(f"{what} is empty")
    if "\0" in secret:
        raise InputError(f"{what} contains a zero byte")
    try:
        secret.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what} is not UTF-8") from error
    return secret
