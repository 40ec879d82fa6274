"""OpenSSH's known_hosts, as ssh-keygen writes it and as people do."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netraven.inventory.known_hosts import KnownHosts, Names, parse_known_hosts
from netraven.model import Device

R1 = Device("r1", "192.0.2.1", "cisco_iosxe")
R2 = Device("r2.example.net", "192.0.2.2", "cisco_iosxe", port=2222)


def blob(algorithm: str = "ssh-ed25519", data: bytes = b"k" * 32) -> str:
    parts = (algorithm.encode(), data)
    return base64.b64encode(b"".join(len(p).to_bytes(4, "big") + p for p in parts)).decode()


def line(names: str, algorithm: str = "ssh-ed25519", rest: str = "") -> str:
    return f"{names} {algorithm} {blob(algorithm)}{rest}"


def devices_of(text: str) -> list[list[str]]:
    names = Names([R1, R2])
    found = parse_known_hosts(text)
    assert not found.bad
    return [[device.name for device in names.of(host)] for host in found.hosts]


@pytest.mark.parametrize(
    ("names", "devices"),
    [
        ("192.0.2.1", ["r1"]),
        ("r1", ["r1"]),
        ("R1,192.0.2.1,other", ["r1"]),
        ("192.0.2.2", []),
        ("[192.0.2.2]:2222", ["r2.example.net"]),
        ("[r2.example.net]:2222", ["r2.example.net"]),
        ("r2.example.net", ["r2.example.net"]),
        ("192.0.2.*", ["r1"]),
        ("*", ["r1", "r2.example.net"]),
        ("*,!192.0.2.1", ["r1", "r2.example.net"]),  # its name is not excluded
        ("192.0.2.?,!192.0.2.1", []),
        ("nobody", []),
    ],
)
def test_names(names: str, devices: list[str]) -> None:
    assert devices_of(line(names)) == [devices]


def test_comments_markers_and_what_is_unknown() -> None:
    found = parse_known_hosts(
        "\n".join(
            [
                "# a comment",
                "",
                line("r1", rest=" root@somewhere, with words"),
                "@cert-authority " + line("*.example.net"),
                "@revoked " + line("*"),
                line("r1", "sk-ssh-ed25519@openssh.com"),
            ]
        )
    )
    assert [(host.line, host.marker) for host in found.hosts] == [(3, ""), (4, "authority"), (5, "revoked")]
    assert found.unknown == {6: "sk-ssh-ed25519@openssh.com"}
    assert found.complaint() is None


def test_each_bad_line_is_named() -> None:
    found = parse_known_hosts(
        "\n".join(
            [
                "r1 ssh-ed25519",
                "r1 ssh-ed25519 $$$",
                f"r1 ssh-rsa {blob()}",
                "@trusted " + line("r1"),
                line("|1|AAAA|short"),
                line("r1"),
            ]
        )
    )
    assert list(found.bad) == [1, 2, 3, 4, 5]
    assert len(found.hosts) == 1
    said = found.complaint() or ""
    for words in ("line 1: names, a key type", "line 2: the key is not base64", "@trusted", "|1|SALT|HASH"):
        assert words in said


def test_what_ssh_keygen_has_hashed(tmp_path: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("no ssh-keygen here")
    file = tmp_path / "known_hosts"
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    file.write_text(f"192.0.2.1 {public}\n[192.0.2.2]:2222 {public}\nelsewhere {public}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    assert devices_of(file.read_text()) == [["r1"], ["r2.example.net"], []]


@given(st.text(max_size=200))
def test_no_text_does_more_than_be_refused(text: str) -> None:
    assert isinstance(parse_known_hosts(text), KnownHosts)
    assert isinstance(parse_known_hosts(f"@revoked |1|{text} ssh-rsa {text}"), KnownHosts)
