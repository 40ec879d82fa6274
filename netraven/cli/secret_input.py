"""Secrets come in through stdin, the environment, a key file or a prompt. Never as an argument."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from netraven.errors import InputError

_LONGEST = 64 * 1024
_HOW = "give it with --password-stdin, --password-env VAR or --private-key FILE (or be on a terminal to be asked)"


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
    """The text of an SSH private key that can be used without a passphrase."""
    try:
        text = Path(file).expanduser().read_text(encoding="ascii")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: is not a private key: it holds other bytes than text") from error
    _check_private_key(text, file)
    return text


def _check_private_key(text: str, file: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

    if text.startswith("PuTTY-User-Key-File"):
        raise InputError(
            f"{file}: is PuTTY's format: puttygen {file} -O private-openssh -o NEWFILE converts it"
        )
    if text.startswith(("ssh-", "ecdsa-")) or "PUBLIC KEY" in text:
        raise InputError(f"{file}: is a public key; the private one has no .pub at its end")
    if "PRIVATE KEY-----" not in text:
        raise InputError(f"{file}: is not a private key")
    load = load_ssh_private_key if "BEGIN OPENSSH" in text else load_pem_private_key
    try:
        load(text.encode(), password=None)
    except TypeError as error:
        raise InputError(
            f"{file}: is protected by a passphrase, which cannot be asked for at night. Make a copy without one "
            f"(ssh-keygen -p -N '' -f COPY); it is stored sealed"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{file}: is not a private key that can be read") from error
    from netraven.transport.keys import can_log_in

    if not can_log_in(text):
        raise InputError(f"{file}: is a private key of a kind that SSH does not log in with")


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
