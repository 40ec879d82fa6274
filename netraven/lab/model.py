"""What a simulated device is, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

IllKind = Literal[
    "none",
    "port_closed",  # nothing listens
    "close_on_connect",  # accepts TCP, closes it at once
    "hung_before_banner",  # accepts TCP and says nothing
    "hung_in_kex",  # sends its version line, then nothing
    "refuses",  # refuses every password
    "slow",  # waits `seconds` before every answer
    "hung_login",  # never answers the authentication request
    "close_at_login",  # cuts TCP once the secret was offered, without a verdict
    "disconnect_at_login",  # SSH disconnect (code 2) at wrong password number `tries`, as OpenSSH does
    "kbdint_retry",  # a wrong answer is asked again in the same exchange, up to `tries` answers, as IOS does
    "expired_password",  # the right password is answered with a request to change it
    "close_after_login",  # accepts the password, then cuts TCP
    "hung_after_login",  # accepts the password, then no prompt ever comes
    "command_error",  # answers the configuration command with an error line, or with `text`
    "drop_mid_output",  # cuts TCP in the middle of the configuration
    "hang_mid_output",  # falls silent in the middle of the configuration
    "evil_output",  # control sequences in both banners and in the configuration
]

AUTH_METHODS = ("password", "keyboard-interactive", "publickey")


@dataclass(frozen=True, slots=True)
class Ill:
    """One thing wrong with a device, decided anew for each connection.

    `times` limits it to the first so many connections; then the device is well, and a retry can succeed.
    """

    kind: IllKind = "none"
    seconds: float = 0.0
    tries: int = 0
    text: str = ""
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(IllKind):
            raise ValueError(f"unknown illness {self.kind!r}; known: {', '.join(get_args(IllKind))}")
        if not self.tries:
            object.__setattr__(self, "tries", 3 if self.kind == "kbdint_retry" else 1)


WELL = Ill()


@dataclass(frozen=True, slots=True)
class LabAlgorithms:
    """What a device's SSH server offers; an empty category is as usual.

    `host_keys`: algorithms of signatures; the device has a key for each, made anew when the lab starts it.
    """

    kex: tuple[str, ...] = ()
    host_keys: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabDevice:
    """One simulated device. `accepts` maps each user name to the password that opens the device for it."""

    name: str
    accepts: Mapping[str, str] = field(repr=False)
    dialect: str = "cisco_iosxe"
    config: str | None = None
    """None: a generated one of about `config_size` bytes, the same for the same seed and name."""
    config_size: int = 8192
    ill: Ill = WELL
    auth: tuple[str, ...] = ("password",)
    authorized_keys: Mapping[str, str] = field(default_factory=dict)
    """For each user name the lines of an authorized_keys file (OpenSSH): keys, and authorities of certificates."""
    algorithms: LabAlgorithms | None = None
    """None: what routers of today offer."""
    enable_password: str | None = field(default=None, repr=False)
    """Set: sessions start at the user prompt and `enable` asks for it."""
    think: float = 0.0
    """Seconds that each command takes to answer."""
    tags: tuple[str, ...] = ()
    telnet: bool = False
    """Whether it speaks telnet in place of SSH. Ills of SSH alone do not befall it, nor does `auth` matter."""

    def __post_init__(self) -> None:
        unknown = set(self.auth) - set(AUTH_METHODS)
        if unknown or not self.auth:
            raise ValueError(f"{self.name}: auth must be some of {', '.join(AUTH_METHODS)}")

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> LabDevice:
        """A device from one entry of a `--spec` file: the keys are the field names, `ill` is an object."""
        fields = dict(entry)
        if "ill" in fields:
            fields["ill"] = Ill(**fields["ill"])
        for key in ("auth", "tags"):
            if key in fields:
                fields[key] = tuple(fields[key])
        if fields.get("algorithms"):
            lists = {name: tuple(names) for name, names in fields["algorithms"].items()}
            fields["algorithms"] = LabAlgorithms(**lists)
        return cls(**fields)
