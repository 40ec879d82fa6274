"""NetRaven collects the configurations of large fleets of network devices: the right credential first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netraven.app import NetRaven, RunReport
    from netraven.config import CollectSettings, Settings
    from netraven.errors import NetRavenError
    from netraven.model import Choice, Credential, Device, Outcome, RunStatus, Status, What
    from netraven.ports import Evidence, Strategy

__all__ = [
    "Choice",
    "CollectSettings",
    "Credential",
    "Device",
    "Evidence",
    "NetRaven",
    "NetRavenError",
    "Outcome",
    "RunReport",
    "RunStatus",
    "Settings",
    "Status",
    "Strategy",
    "What",
]

_HOME = {
    "NetRaven": "netraven.app",
    "RunReport": "netraven.app",
    "CollectSettings": "netraven.config",
    "Settings": "netraven.config",
    "NetRavenError": "netraven.errors",
    "Choice": "netraven.model",
    "Credential": "netraven.model",
    "Device": "netraven.model",
    "Outcome": "netraven.model",
    "RunStatus": "netraven.model",
    "Status": "netraven.model",
    "What": "netraven.model",
    "Evidence": "netraven.ports",
    "Strategy": "netraven.ports",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: ``import netraven`` itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'netraven' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
