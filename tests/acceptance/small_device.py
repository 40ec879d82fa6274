"""A script that speaks a little IOS, to stand behind servers that log a user in."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.system import public_file

CONFIG = "hostname r1\n!\ninterface Loopback0\n description from behind a real server\nend\n"
_SCRIPT = """\
#!/bin/sh
printf 'r1#'
while read -r line; do
  case "$line" in
    "show running-config") cat {config} ;;
    exit) exit ;;
  esac
  printf 'r1#'
done
"""


def write(folder: Path) -> Path:
    """The script, which any user may run, in a folder that any user may read."""
    config = public_file(folder / "config", CONFIG)
    return public_file(folder / "device", _SCRIPT.format(config=config), 0o755)
