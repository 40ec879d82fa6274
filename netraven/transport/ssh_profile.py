"""asyncssh's options for one connection, built once for each set of algorithms and kind of login."""

from __future__ import annotations

import copy
from functools import lru_cache

import asyncssh

from netraven.transport.ssh_algorithms import Algorithms


@lru_cache(maxsize=64)
def _profile(
    algorithms: Algorithms, *, with_key: bool, with_password: bool
) -> asyncssh.SSHClientConnectionOptions:
    methods = ["publickey"] if with_key else []
    if with_password or not with_key:
        methods += ["password", "keyboard-interactive"]
    return asyncssh.SSHClientConnectionOptions(
        config=None,
        agent_path=None,
        client_keys=None,
        client_host_keysign=False,
        gss_host=None,
        known_hosts=([], [], []),  # every key goes through the gate: see transport.ssh_client
        server_host_key_algs=list(algorithms.host_keys),
        kex_algs=list(algorithms.kex),
        encryption_algs=list(algorithms.ciphers),
        mac_algs=list(algorithms.macs),
        compression_algs=["none"],
        preferred_auth=methods,
        public_key_auth=with_key,
        login_timeout=0,  # deadlines are ours: see transport.ssh
        connect_timeout=None,
        username="",
    )


def options_for(
    algorithms: Algorithms, *, with_key: bool, with_password: bool
) -> asyncssh.SSHClientConnectionOptions:
    """Options for one connection. Building them costs a tenth of a connection, so each set is built once and copied."""
    return copy.copy(_profile(algorithms, with_key=with_key, with_password=with_password))
