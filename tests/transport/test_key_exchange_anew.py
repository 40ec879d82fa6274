"""Another host key in the middle of a session, at a key exchange anew."""

from __future__ import annotations

from typing import Any

import asyncssh

from netraven.model import Device, HostKey, Target
from netraven.transport.ssh import SshTransport
from tests.transport.rig import PATIENT, NotedLogin, visit

LINES = [f"line {n} of a long configuration\r\n" for n in range(40_000)]


async def test_another_key_in_the_middle_of_a_session_is_a_changed_key() -> None:
    first, other = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    connections: list[Any] = []

    class Server(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("netops", "right")

    async def speak(process: Any) -> None:
        process.stdout.write("r1#")
        typed = ""
        while letter := await process.stdin.read(1):
            process.stdout.write("\r\n" if letter == "\n" else letter)
            typed += letter
            if typed.endswith("show running-config\n"):
                (connection,) = connections
                pair = asyncssh.load_keypairs([other])[0]
                connection._server_host_keys = dict.fromkeys(connection._server_host_keys, pair)
                process.stdout.write("".join(LINES))
            if letter == "\n":
                process.stdout.write("r1#")

    server = await asyncssh.create_server(
        Server,
        "127.0.0.1",
        0,
        server_host_keys=[first],
        process_factory=speak,
        line_editor=False,
        gss_host=None,
        rekey_bytes=200_000,
    )
    login = NotedLogin()
    device = Device("r1", "127.0.0.1", "cisco_iosxe", server.sockets[0].getsockname()[1])
    try:
        result = await visit(SshTransport(PATIENT), Target(device), login)
    finally:
        server.close()
        await server.wait_closed()
    shown = [HostKey(key.get_algorithm(), key.public_data) for key in (first, other)]
    assert result.reason == "host_key_changed"
    assert all(key.fingerprint in result.detail for key in shown)
    assert result.told == ["secret", "accepted"]
    assert login.refused_keys == [shown[1]]
