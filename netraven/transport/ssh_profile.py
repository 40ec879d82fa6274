"""Which SSH algorithms are offered, cheapest first.

The list is short on purpose: some devices refuse long KEXINIT packets. AES-GCM needs no separate MAC and costs the
least CPU per packet with asyncssh. What is weak (SHA-1, CBC, group1) is not offered.
"""

from __future__ import annotations

import copy
from functools import lru_cache

import asyncssh

KEX = (
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
)
CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes256-ctr",
    "aes192-ctr",
    "chacha20-poly1305@openssh.com",
)
MACS = (
    "hmac-sha2-256",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512",
    "hmac-sha2-512-etm@openssh.com",
)
HOST_KEYS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
_RSA = ("rsa-sha2-256", "rsa-sha2-512")


@lru_cache(maxsize=32)
def _profile(known: tuple[str, ...], *, with_key: bool) -> asyncssh.SSHClientConnectionOptions:
    first = [a for name in known for a in (_RSA if name == "ssh-rsa" else (name,)) if a in HOST_KEYS]
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        agent_path=None,
        client_keys=None,
        client_host_keysign=False,
        gss_host=None,
        known_hosts=([], [], []),  # every key goes through validate_host_public_key
        server_host_key_algs=[*first, *(a for a in HOST_KEYS if a not in first)],
        kex_algs=list(KEX),
        encryption_algs=list(CIPHERS),
        mac_algs=list(MACS),
        compression_algs=["none"],
        preferred_auth=["publickey"] if with_key else ["password", "keyboard-interactive"],
        public_key_auth=with_key,
        login_timeout=0,  # deadlines are ours: see transport.ssh
        connect_timeout=None,
        username="",
    )


def options_for(known: tuple[str, ...], *, with_key: bool) -> asyncssh.SSHClientConnectionOptions:
    """Options for one connection to a device whose host keys of the algorithms ``known`` are on record.

    Building them costs a tenth of a connection, so each profile is built once and copied. Known algorithms go
    first: a device that gains a second host key keeps showing the one that is on record.
    """
    return copy.copy(_profile(known, with_key=with_key))
