"""From the bytes that a source gives to a secret. What is wrong is said without a word of what was given."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_ssh_private_key

from netraven.errors import SecretUnreadable
from netraven.model import Secret

LARGEST = 64 * 1024
"""Bytes of a secret. The longest private keys have a tenth of that."""


def secret_in(data: bytes, what: str) -> Secret:
    """A password, which is one line whose end does not belong to it, or a private key, told by its PEM header.

    ``what`` gave the data; it begins the message of the ``SecretUnreadable`` that is raised for anything else.
    """
    if len(data) > LARGEST:
        raise SecretUnreadable(f"{what} gives more than {LARGEST // 1024} KiB: that is no secret")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:  # outside of the handler: its exception would carry the bytes along
        raise SecretUnreadable(f"{what} gives something that is not UTF-8")
    if text.lstrip().startswith("-----BEGIN ") and "PRIVATE KEY-----" in text:
        return _private_key(text, what)
    line = text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text.removesuffix("\n")
    if not line.strip():
        raise SecretUnreadable(f"{what} gives nothing")
    if "\n" in line or "\r" in line:
        raise SecretUnreadable(f"{what} gives more than one line: a password has to be the only one")
    if "\0" in line:
        raise SecretUnreadable(f"{what} gives a zero byte in a password")
    return Secret(password=line)


def _private_key(text: str, what: str) -> Secret:
    load = load_ssh_private_key if "BEGIN OPENSSH" in text else load_pem_private_key
    problem = ""
    try:
        load(text.encode(), password=None)
    except TypeError:
        pass  # sealed: its passphrase is kept with the credential
    except (ValueError, UnsupportedAlgorithm):
        problem = "a private key that cannot be read"
    if problem:
        raise SecretUnreadable(f"{what} gives {problem}")
    return Secret(private_key=text)
