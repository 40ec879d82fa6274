"""Keys that an ssh agent holds. The key stays there: what is given is its name, once the agent has said that it has it.

The protocol is that of draft-ietf-sshm-ssh-agent: a length, a type, and for the list of keys their blobs and comments.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from netraven.credentials.source import AgentKey
from netraven.errors import SecretUnreadable
from netraven.model import HostKey, Secret

_REQUEST_IDENTITIES, _IDENTITIES_ANSWER = 11, 12
_LARGEST = 256 * 1024
"""Bytes of an answer, as OpenSSH's agent bounds it."""


class AgentSource:
    """``agent:KEY``. ``socket``: where the agent listens; empty: where SSH_AUTH_SOCK says."""

    def __init__(self, socket: str, environ: Mapping[str, str], *, timeout: float = 10.0) -> None:
        self._socket = socket
        self._environ = environ
        self._timeout = timeout

    async def read(self, place: AgentKey) -> Secret:
        """Raises ``SecretUnreadable`` where no agent answers or it does not hold the key."""
        socket = agent_socket(self._socket, self._environ)
        if not socket:
            raise SecretUnreadable(
                "there is no ssh agent: SSH_AUTH_SOCK is not set. Start one (ssh-agent), or name its socket as "
                "agent_socket under [ssh]"
            )
        try:
            async with asyncio.timeout(self._timeout):
                keys = await _keys(socket)
        except TimeoutError:
            problem = f"does not answer within {self._timeout:g} s"
        except OSError as error:
            problem = f"cannot be reached: {error.strerror or error}"
        except (ValueError, asyncio.IncompleteReadError):
            problem = "gives an answer that makes no sense"
        else:
            return self._chosen(place, keys, socket)
        raise SecretUnreadable(f"the ssh agent at {socket} {problem}")

    @staticmethod
    def _chosen(place: AgentKey, keys: Mapping[str, str], socket: str) -> Secret:
        if not keys:
            raise SecretUnreadable(f"the ssh agent at {socket} holds no key: ssh-add gives it one")
        if place.name and place.name not in keys and place.name not in keys.values():
            raise SecretUnreadable(
                f"the ssh agent at {socket} does not hold the key {place.name!r}: `ssh-add -l` lists what it has"
            )
        return Secret(agent=place.name)


def agent_socket(told: str, environ: Mapping[str, str]) -> str:
    """Where the agent listens; empty where nothing says so."""
    return told or environ.get("SSH_AUTH_SOCK", "")


async def _keys(socket: str) -> dict[str, str]:
    """The comments of the agent's keys by their fingerprints."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(b"\0\0\0\x01" + bytes([_REQUEST_IDENTITIES]))
        length = int.from_bytes(await reader.readexactly(4), "big")
        if not 5 <= length <= _LARGEST:
            raise ValueError("a length that no list of keys has")
        answer = await reader.readexactly(length)
    finally:
        writer.close()
    if answer[0] != _IDENTITIES_ANSWER:
        raise ValueError("another answer than was asked for")
    found: dict[str, str] = {}
    place = 5
    for _ in range(int.from_bytes(answer[1:5], "big")):
        blob, place = _string(answer, place)
        comment, place = _string(answer, place)
        found[HostKey("", blob).fingerprint] = comment.decode("utf-8", "replace")
    return found


def _string(data: bytes, place: int) -> tuple[bytes, int]:
    end = place + 4 + int.from_bytes(data[place : place + 4], "big")
    if end > len(data):
        raise ValueError("a text goes beyond the answer")
    return data[place + 4 : end], end
