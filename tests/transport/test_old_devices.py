"""Devices that offer little: what is remembered of them, what they may use, and how many connections that takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asyncssh.encryption import get_encryption_algs
from asyncssh.kex import get_kex_algs
from asyncssh.mac import get_mac_algs
from asyncssh.public_key import get_certificate_algs, get_public_key_algs
from hypothesis import given
from hypothesis import strategies as st

from netraven.lab import Lab, LabAlgorithms
from netraven.model import Access, SshOffer
from netraven.transport.ssh import SshTransport
from netraven.transport.ssh_algorithms import (
    CATEGORIES,
    FURTHER,
    LEGACY,
    MODERN,
    MOST_TAILORED,
    algorithms_for,
    lacking,
    only_weak,
    weak,
    why_weak,
)
from netraven.transport.ssh_offer import Malformed, read_offer
from tests.transport.rig import PATIENT, quiet, router, target, visit

OLD = LabAlgorithms(
    kex=("diffie-hellman-group14-sha1", "diffie-hellman-group1-sha1"),
    host_keys=("ssh-rsa",),
    ciphers=("aes128-cbc", "3des-cbc"),
    macs=("hmac-sha1", "hmac-md5"),
)
LEGACY_ALLOWED = Access(legacy=True)


def connections(lab: Lab) -> int:
    return sum(1 for event in lab.log.events if event.kind == "connect")


def offer(**lists: tuple[str, ...]) -> SshOffer:
    full = {name: getattr(MODERN, name) for name, _ in CATEGORIES}
    return SshOffer("SSH-2.0-Cisco-1.25", **(full | lists))


# ---- against devices


@pytest.mark.parametrize(
    "algorithms",
    [
        OLD,
        replace(OLD, ciphers=("3des-cbc",), macs=("hmac-md5-96",)),
        replace(OLD, kex=("diffie-hellman-group1-sha1",), host_keys=("ssh-dss",)),
        LabAlgorithms(
            kex=("diffie-hellman-group-exchange-sha1",), macs=("hmac-sha1-96",), ciphers=("aes256-cbc",)
        ),
    ],
)
async def test_an_old_device_is_learned_on_one_connection_and_opened_on_the_next(
    algorithms: LabAlgorithms,
) -> None:
    async with Lab([router(algorithms=algorithms, config_size=100_000)]) as lab:
        first = await visit(SshTransport(PATIENT), target(lab, access=LEGACY_ALLOWED))
        assert first.text
        assert first.told == ["secret", "accepted"]
        assert connections(lab) == 2
        (seen,) = first.login.offers
        assert seen.kex == algorithms.kex

        again = await visit(SshTransport(PATIENT), target(lab, access=LEGACY_ALLOWED, offer=seen))
        assert again.text == first.text
        assert again.login.offers == []  # nothing new
        assert connections(lab) == 3
        await quiet(lab)


async def test_weak_algorithms_are_not_used_unless_they_are_allowed_and_the_failure_says_how() -> None:
    async with Lab([router(algorithms=OLD)]) as lab:
        goal = target(lab)
        result = await visit(SshTransport(PATIENT), goal)
        assert result.reason == "negotiation"
        assert result.told == []
        assert "no common key exchange: the device offers diffie-hellman-group14-sha1" in result.detail
        assert "`legacy = true` under [devices.r1]" in result.detail
        assert result.detail.index("legacy = true") < 60  # reports cut long lines at their end
        assert connections(lab) == 1  # a second one could offer nothing else
        assert len(result.login.offers) == 1
        await quiet(lab)


async def test_a_device_that_has_become_better_is_learned_anew() -> None:
    async with Lab([router(algorithms=OLD)]) as lab:
        first = await visit(SshTransport(PATIENT), target(lab, access=LEGACY_ALLOWED))
        await lab.update("r1", algorithms=None)
        again = await visit(
            SshTransport(PATIENT), target(lab, access=LEGACY_ALLOWED, offer=first.login.offers[0])
        )
        assert again.text
        assert weak(again.login.offers[-1]) == [] or "curve25519-sha256" in again.login.offers[-1].kex
        assert connections(lab) == 4
        await quiet(lab)


async def test_a_strong_algorithm_outside_of_the_short_list_needs_no_permission() -> None:
    async with Lab([router(algorithms=LabAlgorithms(kex=("diffie-hellman-group18-sha512",)))]) as lab:
        result = await visit(SshTransport(PATIENT), target(lab))
        assert result.text
        assert connections(lab) == 2
        await quiet(lab)


async def test_what_one_device_may_use_changes_nothing_for_others() -> None:
    transport = SshTransport(PATIENT)
    async with Lab([router(algorithms=OLD), router("r2", algorithms=OLD)]) as lab:
        assert (await visit(transport, target(lab, access=LEGACY_ALLOWED))).text
        assert (await visit(transport, target(lab, "r2"))).reason == "negotiation"
        await quiet(lab)


async def test_the_offer_of_a_device_is_told_once() -> None:
    async with Lab([router()]) as lab:
        first = await visit(SshTransport(PATIENT), target(lab))
        (seen,) = first.login.offers
        assert seen.version == "SSH-2.0-Lab"
        assert "curve25519-sha256" in seen.kex
        again = await visit(SshTransport(PATIENT), target(lab, offer=seen))
        assert again.login.offers == []
        assert connections(lab) == 2
        await quiet(lab)


# ---- what is offered


def test_every_name_is_one_that_can_be_spoken() -> None:
    spoken = {
        "kex": get_kex_algs(),
        "host_keys": [*get_public_key_algs(), *get_certificate_algs()],
        "ciphers": get_encryption_algs(),
        "macs": get_mac_algs(),
    }
    for algorithms in (MODERN, FURTHER, LEGACY):
        for category, _ in CATEGORIES:
            assert {name.encode() for name in getattr(algorithms, category)} <= set(spoken[category])


def test_what_is_strong_is_not_weak_and_what_is_legacy_is() -> None:
    for category, _ in CATEGORIES:
        assert [
            name for name in getattr(MODERN, category) + getattr(FURTHER, category) if why_weak(name)
        ] == []
        assert all(why_weak(name) for name in getattr(LEGACY, category))


names = st.sampled_from(
    sorted(
        {n for a in (MODERN, FURTHER, LEGACY) for c, _ in CATEGORIES for n in getattr(a, c)}
        | {"none", "made-up"}
    )
)
offers = st.builds(
    SshOffer, st.just("SSH-2.0-x"), *[st.lists(names, max_size=5, unique=True).map(tuple) for _ in CATEGORIES]
)


@given(
    offer=offers,
    known=st.lists(st.sampled_from(["ssh-rsa", "ssh-ed25519", "ssh-dss"]), max_size=2).map(tuple),
)
def test_nothing_weak_is_offered_without_permission(offer: SshOffer, known: tuple[str, ...]) -> None:
    offered = algorithms_for(offer, known)
    for category, _ in CATEGORIES:
        assert [name for name in getattr(offered, category) if why_weak(name)] == []


@given(offer=offers)
def test_permission_changes_only_what_has_nothing_better(offer: SshOffer) -> None:
    without, allowed = algorithms_for(offer), algorithms_for(offer, legacy=True)
    lacks = lacking(offer, without)
    for category, _ in CATEGORIES:
        ours = getattr(allowed, category)
        if ours != getattr(without, category):
            assert category in lacks
            assert len(ours) <= MOST_TAILORED
            assert set(ours) <= set(getattr(offer, category))


def test_known_host_keys_go_first_and_old_rsa_keys_by_sha_1_only_with_permission() -> None:
    assert algorithms_for(None, ("ssh-rsa",)).host_keys[:3] == ("rsa-sha2-256", "rsa-sha2-512", "ssh-ed25519")
    assert algorithms_for(None, ("ssh-rsa",), legacy=True).host_keys[2] == "ssh-rsa"
    assert algorithms_for(None, ("ssh-dss",)) == MODERN
    assert algorithms_for(None, ("ecdsa-sha2-nistp521",)).host_keys[0] == "ecdsa-sha2-nistp521"


def test_certificates_are_asked_for_where_they_can_be_judged() -> None:
    assert not any("cert" in name for name in algorithms_for(None).host_keys)
    assert algorithms_for(None, certificates=True).host_keys[0] == "ssh-ed25519-cert-v01@openssh.com"
    bare = offer(host_keys=("ssh-rsa", "rsa-sha2-256"))  # it may have been given one since it was looked at
    first, second, *_ = algorithms_for(bare, certificates=True).host_keys
    assert first == "rsa-sha2-256-cert-v01@openssh.com"
    assert second in MODERN.host_keys
    assert "cert" not in str(algorithms_for(offer(host_keys=("ssh-rsa",)), legacy=True, certificates=True))


def test_a_cipher_without_a_mac_needs_none_in_common() -> None:
    sparse = offer(ciphers=("aes128-gcm@openssh.com",), macs=("hmac-md5",))
    assert lacking(sparse, algorithms_for(sparse)) == []
    assert only_weak(sparse) == []


def test_weakness_is_said_by_category_with_its_reason() -> None:
    mixed = offer(ciphers=("aes128-ctr", "aes128-cbc"), kex=("diffie-hellman-group1-sha1",))
    assert [(w.category, w.algorithm) for w in weak(mixed)] == [
        ("kex", "diffie-hellman-group1-sha1"),
        ("ciphers", "aes128-cbc"),
    ]
    assert all(w.why for w in weak(mixed))
    assert only_weak(mixed) == ["key exchange"]


# ---- reading a KEXINIT


def kexinit(*lists: str) -> bytes:
    body = b"".join(len(text).to_bytes(4, "big") + text.encode() for text in lists)
    return b"\x14" + b"c" * 16 + body + bytes(5)


def test_an_offer_is_read_without_the_marks_that_are_no_algorithms() -> None:
    packet = kexinit(
        "a,b,ext-info-s,kex-strict-s-v00@openssh.com", "k1,k1,k2", "c1,c2", "c2,c3", "m", "m", "", "", "", ""
    )
    seen = read_offer(b"SSH-2.0-x\x1b[31m", packet)
    assert seen == SshOffer("SSH-2.0-x?[31m", ("a", "b"), ("k1", "k2"), ("c2",), ("m",))


@given(st.binary(max_size=400))
def test_no_packet_does_more_than_be_refused(data: bytes) -> None:
    try:
        seen = read_offer(b"SSH-2.0-x", b"\x14" + b"c" * 16 + data)
    except Malformed:
        return
    for category, _ in CATEGORIES:
        assert len(getattr(seen, category)) <= 100


def test_a_list_of_thousands_of_names_is_cut() -> None:
    many = ",".join(f"n{number}" for number in range(9_000))
    seen = read_offer(b"SSH-2.0-x", kexinit(many, "x" * 9_000, "", "", "", ""))
    assert len(seen.kex) <= 100
    assert seen.host_keys == ()
