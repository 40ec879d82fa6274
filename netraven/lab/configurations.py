"""Configurations that look like the real thing, the same for the same seed and name.

A few dozen bodies per dialect are generated and shared; only the host name and addresses differ per device:
a fleet of a hundred thousand costs little memory and time.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Iterator
from functools import lru_cache

VARIANTS = 32
_HOST, _LOOPBACK, _SERIAL = "@HOST@", "@LOOPBACK@", "@SERIAL@"
_PLACES = (
    "ams1",
    "ber2",
    "cdg1",
    "dub3",
    "fra4",
    "gva1",
    "hel2",
    "lis1",
    "mad2",
    "muc1",
    "osl1",
    "prg2",
    "waw1",
)
_PEOPLE = ("netops", "noc", "oncall", "automation", "breakglass")


def configuration(dialect: str, name: str, *, seed: int = 0, size: int = 8192) -> str:
    """A configuration of about `size` bytes (never much under the dialect's fixed part of some 2 KB)."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    body = _body(dialect, seed, digest[0] % VARIANTS, size)
    loopback = f"10.{digest[1]}.{digest[2]}.{1 + digest[3] % 254}"
    serial = f"FDO{int.from_bytes(digest[4:8], 'big') % 10**8:08d}"
    return body.replace(_HOST, name).replace(_LOOPBACK, loopback).replace(_SERIAL, serial)


@lru_cache(maxsize=1024)
def _body(dialect: str, seed: int, variant: int, size: int) -> str:
    rng = random.Random(f"{dialect}/{seed}/{variant}")
    write = _WRITERS[dialect]
    head, port, tail = write(rng)
    parts, length = [head], len(head) + len(tail)
    number = 0
    while length < size or number < 2:
        number += 1
        block = port(number)
        parts.append(block)
        length += len(block)
    return "".join(parts) + tail


_Parts = tuple[str, Callable[[int], str], str]


def _noise(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(string.ascii_letters + string.digits, k=length))


def _address(rng: random.Random) -> str:
    return f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def _neighbors(rng: random.Random, count: int) -> Iterator[tuple[str, int, str]]:
    for _ in range(count):
        yield _address(rng), rng.randrange(64512, 65535), f"{rng.choice(_PLACES)}-pe{rng.randrange(1, 9)}"


def _purpose(rng: random.Random) -> str:
    kind = rng.choice(("uplink", "server", "access point", "printer", "customer", "camera", "spare"))
    return f"{kind} {rng.choice(_PLACES)} rack {rng.randrange(1, 60)} unit {rng.randrange(1, 42)}"


def _iosxe(rng: random.Random) -> _Parts:
    users = "".join(
        f"username {who} privilege 15 secret 9 $9${_noise(rng, 14)}${_noise(rng, 43)}\n"
        for who in _PEOPLE[:3]
    )
    head = (
        "version 17.9\nservice timestamps debug datetime msec\nservice timestamps log datetime msec\n"
        f"service password-encryption\n!\nhostname {_HOST}\n!\nvrf definition MGMT\n !\n"
        " address-family ipv4\n"
        f" exit-address-family\n!\nenable secret 9 $9${_noise(rng, 14)}${_noise(rng, 43)}\n!\naaa new-model\n"
        "aaa group server tacacs+ TAC\n server name TAC1\n!\n"
        "aaa authentication login default group TAC local\n"
        f"aaa authorization exec default group TAC local\n!\n"
        f"license udi pid C9300-48P sn {_SERIAL}\n{users}!\n"
        f"vlan 10\n name USERS\n!\nvlan 20\n name VOICE\n!\ninterface Loopback0\n"
        f" description router id of {_HOST}\n"
        f" ip address {_LOOPBACK} 255.255.255.255\n!\n"
    )

    def port(number: int) -> str:
        text = f"interface GigabitEthernet1/0/{number}\n description {_purpose(rng)}\n"
        text += " switchport access vlan 10\n"
        text += " switchport mode access\n switchport voice vlan 20\n spanning-tree portfast\n"
        return text + rng.choice(("", " shutdown\n", " storm-control broadcast level 1.00\n")) + "!\n"

    peers = "".join(
        f" neighbor {address} remote-as {number}\n neighbor {address} description {where}\n"
        f" neighbor {address} password 7 {_noise(rng, 18).upper()}\n"
        for address, number, where in _neighbors(rng, 3)
    )
    permits = "".join(f" {10 * n} permit ip host {_address(rng)} any\n" for n in range(1, 7))
    tail = (
        f"router bgp 64512\n bgp router-id {_LOOPBACK}\n bgp log-neighbor-changes\n{peers}!\n"
        f"ip access-list extended MGMT-IN\n{permits} 999 deny ip any any log\n!\n"
        f"logging host {_address(rng)}\nsnmp-server community {_noise(rng, 12)} RO\n"
        f"snmp-server location {rng.choice(_PLACES)}\ntacacs server TAC1\n address ipv4 {_address(rng)}\n"
        f" key 7 {_noise(rng, 20).upper()}\n!\nbanner login ^C\nAuthorized access only.\n^C\n!\n"
        "line con 0\n stopbits 1\nline vty 0 15\n exec-timeout 15 0\n transport input ssh\n!\n"
        f"ntp server {_address(rng)}\nntp server {_address(rng)} prefer\nend\n"
    )
    return head, port, tail


def _nxos(rng: random.Random) -> _Parts:
    users = "".join(
        f"username {who} password 5 $5${_noise(rng, 6)}${_noise(rng, 43)}  role network-admin\n"
        for who in _PEOPLE[:3]
    )
    head = (
        f"version 9.3(12) Bios:version 05.47\nhostname {_HOST}\nvdc {_HOST} id 1\n"
        "  limit-resource vlan minimum 16 maximum 4094\n\nfeature tacacs+\nfeature bgp\n"
        "feature interface-vlan\n"
        f"feature lacp\nfeature vpc\n\n{users}ip domain-lookup\n"
        f'tacacs-server host {_address(rng)} key 7 "{_noise(rng, 16)}"\n'
        f"snmp-server user netops network-admin auth md5 0x{rng.getrandbits(128):032x} localizedkey\n"
        f"ntp server {_address(rng)} use-vrf management\nvlan 1,10,20,30\nvlan 10\n  name USERS\nvlan 20\n"
        f"  name STORAGE\n\nvrf context management\n  ip route 0.0.0.0/0 {_address(rng)}\n\n"
        f"interface loopback0\n  description router id of {_HOST}\n  ip address {_LOOPBACK}/32\n\n"
    )

    def port(number: int) -> str:
        text = f"interface Ethernet1/{number}\n  description {_purpose(rng)}\n  switchport access vlan 10\n"
        text += "  spanning-tree port type edge\n  mtu 9216\n"
        return text + rng.choice(("  no shutdown\n", f"  channel-group {number} mode active\n")) + "\n"

    peers = "".join(
        f"  neighbor {address}\n    remote-as {number}\n    description {where}\n"
        f"    password 3 {_noise(rng, 32)}\n"
        "    address-family ipv4 unicast\n"
        for address, number, where in _neighbors(rng, 3)
    )
    permits = "".join(f"  {10 * n} permit ip {_address(rng)}/32 any\n" for n in range(1, 7))
    tail = (
        f"ip access-list MGMT-IN\n{permits}  999 deny ip any any log\nline console\nline vty\n"
        "  exec-timeout 15\n"
        f"router bgp 64512\n  router-id {_LOOPBACK}\n  address-family ipv4 unicast\n{peers}"
        f"logging server {_address(rng)} 6 use-vrf management\n"
    )
    return head, port, tail


def _iosxr(rng: random.Random) -> _Parts:
    users = "".join(
        f"username {who}\n group root-lr\n group cisco-support\n"
        f" secret 10 $6${_noise(rng, 16)}${_noise(rng, 86)}\n!\n"
        for who in _PEOPLE[:3]
    )
    head = (
        f"hostname {_HOST}\nclock timezone UTC 0\nlogging buffered 2097152\n"
        f"logging {_address(rng)} vrf default\n"
        f"tacacs-server host {_address(rng)} port 49\n key 7 {_noise(rng, 18).upper()}\n!\n{users}"
        f"cdp\nline default\n exec-timeout 15 0\n transport input ssh\n!\nntp\n"
        f" server {_address(rng)} prefer\n"
        f" server {_address(rng)}\n!\nsnmp-server community {_noise(rng, 12)} RO\n"
        f"snmp-server location {rng.choice(_PLACES)}\ninterface Loopback0\n"
        f" description router id of {_HOST}\n"
        f" ipv4 address {_LOOPBACK} 255.255.255.255\n!\n"
    )

    def port(number: int) -> str:
        text = f"interface TenGigE0/0/{number // 48}/{number % 48}\n description {_purpose(rng)}\n mtu 9192\n"
        text += f" ipv4 address {_address(rng)} 255.255.255.254\n load-interval 30\n"
        return text + rng.choice(("", " shutdown\n")) + "!\n"

    peers = "".join(
        f" neighbor {address}\n  remote-as {number}\n  description {where}\n"
        f"  password encrypted {_noise(rng, 18)}\n"
        "  address-family ipv4 unicast\n   route-policy PASS in\n   route-policy PASS out\n  !\n !\n"
        for address, number, where in _neighbors(rng, 3)
    )
    permits = "".join(f" {10 * n} permit ipv4 host {_address(rng)} any\n" for n in range(1, 7))
    tail = (
        f"ipv4 access-list MGMT-IN\n{permits} 999 deny ipv4 any any log\n!\nroute-policy PASS\n"
        "  pass\nend-policy\n!\n"
        f"router bgp 64512\n bgp router-id {_LOOPBACK}\n address-family ipv4 unicast\n !\n{peers}!\n"
        "ssh server v2\nssh server vrf default\nend\n"
    )
    return head, port, tail


def _eos(rng: random.Random) -> _Parts:
    users = "".join(
        f"username {who} privilege 15 role network-admin"
        f" secret sha512 $6${_noise(rng, 16)}${_noise(rng, 86)}\n"
        for who in _PEOPLE[:3]
    )
    head = (
        "! boot system flash:/EOS-4.29.5M.swi\n!\nno aaa root\n!\n"
        f"{users}!\ntransceiver qsfp default-mode 4x10G\n!\nservice routing protocols model multi-agent\n!\n"
        f"hostname {_HOST}\n!\nntp server {_address(rng)} prefer\nntp server {_address(rng)}\n!\n"
        f"snmp-server location {rng.choice(_PLACES)}\nsnmp-server community {_noise(rng, 12)} ro\n!\n"
        f"tacacs-server host {_address(rng)} key 7 {_noise(rng, 18).upper()}\n!\nspanning-tree mode mstp\n!\n"
        f"vlan 10\n   name USERS\n!\ninterface Loopback0\n   description router id of {_HOST}\n"
        f"   ip address {_LOOPBACK}/32\n!\n"
    )

    def port(number: int) -> str:
        text = f"interface Ethernet{number}\n   description {_purpose(rng)}\n   mtu 9214\n"
        return (
            text
            + rng.choice(("   switchport access vlan 10\n", "   shutdown\n", "   no switchport\n"))
            + "!\n"
        )

    peers = "".join(
        f"   neighbor {address} remote-as {number}\n   neighbor {address} description {where}\n"
        f"   neighbor {address} password 7 {_noise(rng, 24)}\n"
        for address, number, where in _neighbors(rng, 3)
    )
    permits = "".join(f"   {10 * n} permit ip host {_address(rng)} any\n" for n in range(1, 7))
    tail = (
        f"ip access-list MGMT-IN\n{permits}   999 deny ip any any log\n!\nip routing\n!\n"
        f"router bgp 64512\n   router-id {_LOOPBACK}\n{peers}!\nmanagement ssh\n   idle-timeout 15\n!\nend\n"
    )
    return head, port, tail


def _junos(rng: random.Random) -> _Parts:
    users = "".join(
        f"        user {who} {{\n            class super-user;\n            authentication {{\n"
        f'                encrypted-password "$6${_noise(rng, 8)}${_noise(rng, 86)}"; ## SECRET-DATA\n'
        "            }\n        }\n"
        for who in _PEOPLE[:3]
    )
    head = (
        f"version 21.4R3-S5.4;\nsystem {{\n    host-name {_HOST};\n    root-authentication {{\n"
        f'        encrypted-password "$6${_noise(rng, 8)}${_noise(rng, 86)}"; ## SECRET-DATA\n    }}\n'
        f"    login {{\n{users}    }}\n    services {{\n        ssh {{\n"
        "            root-login deny;\n        }\n    }\n"
        f"    tacplus-server {{\n"
        f'        {_address(rng)} secret "$9${_noise(rng, 24)}"; ## SECRET-DATA\n    }}\n'
        f"    ntp {{\n        server {_address(rng)};\n        server {_address(rng)} prefer;\n    }}\n}}\n"
        f'interfaces {{\n    lo0 {{\n        unit 0 {{\n            description "router id of {_HOST}";\n'
        f"            family inet {{\n                address {_LOOPBACK}/32;\n            }}\n"
        "        }\n    }\n"
    )

    def port(number: int) -> str:
        state = rng.choice(("", "        disable;\n"))
        return (
            f'    xe-0/{number // 48}/{number % 48} {{\n        description "{_purpose(rng)}";\n{state}'
            f"        mtu 9192;\n        unit 0 {{\n            family inet {{\n"
            f"                address {_address(rng)}/31;\n"
            "            }\n        }\n    }\n"
        )

    peers = "".join(
        f"            neighbor {address} {{\n                description {where};\n"
        f'                authentication-key "$9${_noise(rng, 24)}"; ## SECRET-DATA\n'
        f"                peer-as {number};\n            }}\n"
        for address, number, where in _neighbors(rng, 3)
    )
    terms = "".join(
        f"        term t{n} {{\n            from {{\n                source-address {{\n"
        f"                    {_address(rng)}/32;\n                }}\n            }}\n"
        "            then accept;\n        }\n"
        for n in range(1, 4)
    )
    tail = (
        f"}}\nsnmp {{\n    location {rng.choice(_PLACES)};\n    community {_noise(rng, 12)} {{\n"
        f"        authorization read-only;\n    }}\n}}\nrouting-options {{\n    router-id {_LOOPBACK};\n"
        f"    autonomous-system 64512;\n}}\nprotocols {{\n    bgp {{\n        group transit {{\n"
        f"            type external;\n{peers}"
        f"        }}\n    }}\n}}\nfirewall {{\n    filter MGMT-IN {{\n{terms}    }}\n}}\n"
    )
    return head, port, tail


_WRITERS: dict[str, Callable[[random.Random], _Parts]] = {
    "cisco_iosxe": _iosxe,
    "cisco_nxos": _nxos,
    "cisco_iosxr": _iosxr,
    "arista_eos": _eos,
    "juniper_junos": _junos,
}
