"""Host certificates: an authority speaks for hosts whose keys nobody has seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance import openssh
from tests.acceptance.at_the_prompt import Operator
from tests.acceptance.ssh_keys import Authority
from tests.acceptance.system import User

pytestmark = [pytest.mark.sshd, pytest.mark.slow, pytest.mark.xdist_group("host_certificates")]


@pytest.mark.parametrize("host_key", ["rsa", "ecdsa", "ed25519"])
async def test_an_imported_authority_vouches_for_a_host(
    operator: Operator, tmp_path: Path, user: User, script: Path, host_key: str
) -> None:
    authority, other = Authority.new(), Authority.new()
    known_hosts = tmp_path / "known_hosts"
    force = f"ForceCommand {script}"
    async with openssh.running(
        tmp_path / "sshd", user, force, host_key=host_key, host_authority=authority
    ) as sshd:
        operator.settings('[tags.fleet]\nhost_keys = "strict"')
        await operator.device("r1", sshd.port, "cisco_iosxe", "fleet")
        await operator.password("netops", user.name, "fleet", user.password)
        for trusted in (None, other):
            if trusted is not None:
                known_hosts.write_text(trusted.known_hosts("*"))
                assert (await operator.netraven("hostkey", "import", str(known_hosts))).code == 0
            outcome = (await operator.collect())["r1"]
            assert (outcome["status"], outcome["reason"]) == ("failed", "host_key_unknown"), outcome
            assert not sshd.said(r"(?:Failed|Accepted) "), "no secret before the host is known"
        known_hosts.write_text(authority.known_hosts("127.0.0.*"))
        assert (await operator.netraven("hostkey", "import", str(known_hosts))).code == 0
        outcome = (await operator.collect())["r1"]
        assert outcome["status"] == "collected", outcome


async def test_an_imported_key_is_known_and_another_one_is_not(
    operator: Operator, tmp_path: Path, user: User, script: Path
) -> None:
    """Without certificates: strict means what was imported."""
    known_hosts = tmp_path / "known_hosts"
    force = f"ForceCommand {script}"
    async with (
        openssh.running(tmp_path / "known", user, force) as known,
        openssh.running(tmp_path / "unknown", user, force) as unknown,
    ):
        operator.settings('[tags.fleet]\nhost_keys = "strict"')
        await operator.device("known", known.port, "cisco_iosxe", "fleet")
        await operator.device("unknown", unknown.port, "cisco_iosxe", "fleet")
        await operator.password("netops", user.name, "fleet", user.password)
        known_hosts.write_text(f"[127.0.0.1]:{known.port} {known.host_key}\n")
        assert (await operator.netraven("hostkey", "import", str(known_hosts))).code == 0
        outcomes = await operator.collect()
        assert outcomes["known"]["status"] == "collected", outcomes["known"]
        assert outcomes["unknown"]["reason"] == "host_key_unknown", outcomes["unknown"]
        assert not unknown.said(r"(?:Failed|Accepted) ")
