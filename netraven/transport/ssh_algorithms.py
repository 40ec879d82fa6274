"""Which SSH algorithms a device is offered, and which of its own are weak. Pure: names in, names out.

Most devices get one short list, cheapest first: some refuse long KEXINIT packets. AES-GCM needs no separate MAC and
costs the least CPU per packet with asyncssh. Where a device shares nothing with that list, what it has said that it
offers decides (``SshOffer``): its strong algorithms outside of the list, and weak ones only where settings allow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from netraven.model import SshOffer, Target

MOST_TAILORED = 3
"""Names in a category that is made for one device."""

AEAD = frozenset(
    {
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "chacha20-poly1305@openssh.com",
    }
)
"""Ciphers that need no MAC."""
_RSA = ("rsa-sha2-256", "rsa-sha2-512")
_CERTIFICATE = "-cert-v01@openssh.com"


@dataclass(frozen=True, slots=True)
class Algorithms:
    """What a connection offers, each category in the order of preference. Names as on the wire."""

    kex: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]


MODERN = Algorithms(
    kex=(
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group16-sha512",
    ),
    host_keys=(
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        *_RSA,
    ),
    ciphers=(
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-ctr",
        "aes256-ctr",
        "aes192-ctr",
        "chacha20-poly1305@openssh.com",
    ),
    macs=(
        "hmac-sha2-256",
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512",
        "hmac-sha2-512-etm@openssh.com",
    ),
)
"""What every device is offered of which nothing else is known."""

FURTHER = Algorithms(
    kex=(
        "curve448-sha512",
        "diffie-hellman-group15-sha512",
        "diffie-hellman-group17-sha512",
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group14-sha256@ssh.com",
        "diffie-hellman-group16-sha512@ssh.com",
    ),
    host_keys=("ssh-ed448", "ssh-rsa-sha256@ssh.com", "ssh-rsa-sha512@ssh.com"),
    ciphers=(),
    macs=(
        "hmac-sha2-256-96",
        "hmac-sha2-512-96",
        "hmac-sha2-256-96-etm@openssh.com",
        "hmac-sha2-512-96-etm@openssh.com",
        "hmac-sha256-2@ssh.com",
        "hmac-sha256@ssh.com",
        "hmac-sha512@ssh.com",
    ),
)
"""Strong as well, and rare: for devices that have nothing of ``MODERN``."""

LEGACY = Algorithms(
    kex=(
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
        "diffie-hellman-group1-sha1",
    ),
    host_keys=("ssh-rsa", "ssh-dss"),
    ciphers=("aes128-cbc", "aes256-cbc", "aes192-cbc", "3des-cbc"),
    macs=(
        "hmac-sha1",
        "hmac-sha1-etm@openssh.com",
        "hmac-sha1-96",
        "hmac-sha1-96-etm@openssh.com",
        "hmac-md5",
        "hmac-md5-etm@openssh.com",
        "hmac-md5-96",
        "hmac-md5-96-etm@openssh.com",
    ),
)
"""Weak, the least weak first: only where ``legacy`` is set and the device has nothing better."""

CATEGORIES = (
    ("kex", "key exchange"),
    ("host_keys", "host key"),
    ("ciphers", "cipher"),
    ("macs", "MAC"),
)
"""The fields of an offer, and what people call them."""
NAMES = dict(CATEGORIES)


def algorithms_of(target: Target) -> Algorithms:
    """What a device is offered."""
    return algorithms_for(
        target.offer,
        tuple(key.algorithm for key in target.host_keys),
        legacy=target.access.legacy,
        certificates=bool(target.trust.authorities),
    )


@lru_cache(maxsize=256)
def algorithms_for(
    offer: SshOffer | None, known: tuple[str, ...] = (), *, legacy: bool = False, certificates: bool = False
) -> Algorithms:
    """What to offer a device that made ``offer`` when it was last looked at.

    ``known``: the algorithms of its host keys on record; they go first, so that a device that gains a second host key
    keeps showing that one. ``certificates``: host certificates can be judged, so they are asked for, before keys.
    """
    host_keys = _for_category("host_keys", offer, legacy=legacy)
    named = (name for key in known for name in _names_of(key, legacy=legacy))
    first = list(dict.fromkeys(name for name in named if _usable(name, legacy=legacy)))
    host_keys = (*first, *(name for name in host_keys if name not in first))
    if certificates:
        # also where the device had none when it was looked at: it may have been given one since
        theirs = host_keys if offer is None else offer.host_keys
        wanted = (n + _CERTIFICATE for n in host_keys if n in MODERN.host_keys and _may_certify(n, theirs))
        host_keys = (*wanted, *host_keys)
    ciphers = _for_category("ciphers", offer, legacy=legacy)
    macs = MODERN.macs
    if offer is not None and _chosen(ciphers, offer.ciphers) not in AEAD:
        macs = _for_category("macs", offer, legacy=legacy)
    return Algorithms(_for_category("kex", offer, legacy=legacy), host_keys, ciphers, macs)


def _may_certify(name: str, theirs: Sequence[str]) -> bool:
    """Whether a device that names these may have a certificate of such a key."""
    return name in theirs or name + _CERTIFICATE in theirs


def _for_category(category: str, offer: SshOffer | None, *, legacy: bool) -> tuple[str, ...]:
    modern: tuple[str, ...] = getattr(MODERN, category)
    if offer is None:
        return modern
    theirs = frozenset(getattr(offer, category))
    if not theirs.isdisjoint(modern):
        return modern
    for names in (getattr(FURTHER, category), getattr(LEGACY, category) if legacy else ()):
        if tailored := tuple(name for name in names if name in theirs)[:MOST_TAILORED]:
            return tailored
    return modern


def _names_of(key: str, *, legacy: bool) -> tuple[str, ...]:
    """The signature algorithms of a host key: an RSA key has several."""
    return ((*_RSA, "ssh-rsa") if legacy else _RSA) if key == "ssh-rsa" else (key,)


def _usable(name: str, *, legacy: bool) -> bool:
    return name in MODERN.host_keys or name in FURTHER.host_keys or (legacy and name in LEGACY.host_keys)


def _chosen(ours: Iterable[str], theirs: Sequence[str]) -> str | None:
    """RFC 4253 section 7.1: the first of the client's that the server has too."""
    return next((name for name in ours if name in theirs), None)


def lacking(offer: SshOffer, offered: Algorithms) -> Sequence[str]:
    """The categories, as fields of ``SshOffer``, in which a device and ``offered`` have nothing in common."""
    aead = _chosen(offered.ciphers, offer.ciphers) in AEAD
    return [
        category
        for category, _ in CATEGORIES
        if not (aead and category == "macs")
        and _chosen(getattr(offered, category), getattr(offer, category)) is None
    ]


def nothing_in_common(offer: SshOffer, lacks: Iterable[str], device: str, *, legacy: bool) -> str:
    """Why the key exchange failed, in one line that begins with what would help. ``lacks``: see :func:`lacking`."""
    missing = [(category, NAMES[category], getattr(offer, category)) for category in lacks]
    said = "; ".join(
        f"no common {name}: the device offers {', '.join(theirs[:8]) or 'none'}"
        + (", ..." if len(theirs) > 8 else "")
        for _, name, theirs in missing
    )
    helps = all(
        any(known in theirs for known in getattr(LEGACY, category)) for category, _, theirs in missing
    )
    if legacy or not helps:
        return said
    return (
        "nothing in common but weak algorithms; `legacy = true` under [devices."
        f"{_toml_key(device)}], or [tags.NAME] of old devices, allows them: {said}"
    )


def _toml_key(name: str) -> str:
    bare = re.fullmatch(r"[A-Za-z0-9_-]+", name)
    return name if bare else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True, slots=True)
class Weakness:
    """One weak algorithm of an offer. ``category``: a field of ``SshOffer``."""

    category: str
    algorithm: str
    why: str


_WEAK = (
    (r"(diffie-hellman-group1|rsa1024)-.*", "a 1024-bit group: within reach of a state"),
    (r"ssh-dss(-.*)?", "a 1024-bit DSA key, signed over SHA-1"),
    (r"ssh-rsa(-cert-.*)?", "signed over SHA-1"),
    (r"(diffie-hellman|gss)-.*-sha1(-.*)?", "hashed with SHA-1"),
    (r".*-cbc(@.*)?", "CBC: chosen ciphertexts give plain text away"),
    (r"arcfour.*", "RC4: its key stream is biased"),
    (r"none", "no protection at all"),
    (r"hmac-sha1.*", "SHA-1"),
    (r"hmac-(md5|ripemd).*", "MD5 or RIPEMD-160"),
    (r"umac-64.*", "64-bit tag"),
)
"""What is weak, and why (RFC 8270, RFC 8332, RFC 8429, RFC 9142, and OpenSSH's own defaults)."""
_PATTERNS = tuple((re.compile(pattern), why) for pattern, why in _WEAK)


def weak(offer: SshOffer) -> Sequence[Weakness]:
    """The weak algorithms that the device offers, in its own order."""
    return [
        Weakness(category, name, why)
        for category, _ in CATEGORIES
        for name in getattr(offer, category)
        if (why := why_weak(name)) is not None
    ]


@lru_cache(maxsize=1024)
def why_weak(algorithm: str) -> str | None:
    """Why the algorithm is weak; None where it is not known to be."""
    return next((why for pattern, why in _PATTERNS if pattern.fullmatch(algorithm)), None)


def only_weak(offer: SshOffer) -> Sequence[str]:
    """The categories in which the device has nothing but weak algorithms, as people call them."""
    aead = any(name in AEAD for name in offer.ciphers)
    return [
        name
        for category, name in CATEGORIES
        if (theirs := getattr(offer, category))
        and not (aead and category == "macs")
        and all(why_weak(algorithm) is not None for algorithm in theirs)
    ]
