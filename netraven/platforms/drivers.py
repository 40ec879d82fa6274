"""The platforms that scrapli and scrapli-community have drivers for, without importing them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

CORE = ("arista_eos", "cisco_iosxe", "cisco_iosxr", "cisco_nxos", "juniper_junos")
"""Those of scrapli itself."""


@cache
def known_drivers() -> tuple[str, ...]:
    """Every driver's name, sorted."""
    return tuple(sorted({*CORE, *_community()}))


def variants(driver: str) -> tuple[str, ...]:
    """The variants of a known driver."""
    if driver in CORE:
        return ()
    found = import_module(f"scrapli_community.{driver.replace('_', '.')}").SCRAPLI_PLATFORM
    return tuple(sorted(found.get("variants", {})))


def _community() -> list[str]:
    """A driver is a package inside its vendor's package."""
    spec = find_spec("scrapli_community")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    return [
        f"{driver.parent.parent.name}_{driver.parent.name}"
        for folder in folders
        for driver in folder.glob("*/*/__init__.py")
        if driver.parent.parent.name != "scrapli"  # its template
    ]
