"""What the documents say of commands, settings, platforms and failures is what the code says.

`NETRAVEN_TEST_WRITE_DOCS=1` writes the generated parts anew instead of comparing them.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from netraven import CollectSettings, Credential, Device, NetRaven
from netraven.assembly import hook_ways
from netraven.cli.parser import _top
from netraven.config import HookSettings, RealmSettings, TagSettings, load_settings
from netraven.config.reading import _SECTIONS
from netraven.errors import FAILURES
from netraven.model import EventKind
from netraven.notify.payload import document
from netraven.notify.webhook import Webhook
from netraven.platforms import Catalogue, known_platforms, load_platform
from netraven.platforms.schema import SECTIONS
from netraven.testing import FakeDevice, FakeTransport
from tests.notify.facts import changed
from tests.notify.receivers import receiving

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INTRODUCTION = """# Commands

What `netraven COMMAND --help` prints. Each of them also takes `--config FILE`, before or after the command. Exit codes:
0 done, 1 some devices were not collected (or `db check` found something), 2 usage, settings or input, or the output
cannot be written, 70 a fault of NetRaven, 130 interrupted, 141 whoever read the output has gone.
"""


PLATFORMS = """# Platforms

What can stand in the `platform` column of the device list: these, `auto` (found out [from what the device
shows](../explanation/dialogue.md)), and [files of your own](../how-to/add-a-platform.md). This page is written from
files in [`netraven/platforms/data`](../../netraven/platforms/data); `netraven platform show NAME` tells the rest. Where
a driver is named, prompts, paging and privilege levels come from scrapli or scrapli-community.

Of the outputs only `running`, the configuration, is collected unless you [say more](../how-to/outputs.md).

How it was tested: `server`, against a program that others wrote (FRR's shell, OpenSSH); `lab`, against our simulated
devices over real SSH (`cisco_iosxe` and `arista_eos` also against FakeNOS); `dialogue`, against a dialogue that we
wrote after vendors' documents: engine and data fit it, and no device of that kind has been seen; `unconfirmed`, the
same, and we found no document for its commands. If yours answers otherwise, `netraven platform check` shows how.

| platform | title | driver | outputs | tested |
|---|---|---|---|---|
"""


def settle(file: Path, text: str) -> None:
    if os.environ.get("NETRAVEN_TEST_WRITE_DOCS"):
        file.write_text(text, encoding="utf-8")
    # Python's versions break the lines of a usage differently
    assert file.read_text(encoding="utf-8").split() == text.split(), (
        f"{file.name} is out of date: run with NETRAVEN_TEST_WRITE_DOCS=1"
    )


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every parser that ends in something to run."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not below:
        yield parser
    for action in below:
        for child in action.choices.values():
            yield from commands(child)


def test_the_command_reference_is_what_help_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    parts = [INTRODUCTION]
    for command in commands(_top()):
        text = command.format_help().split("\neverywhere:")
        rest = text[1].split("\n\n", 1)[1].strip() if len(text) > 1 and "\n\n" in text[1] else ""
        body = "\n\n".join(part for part in (text[0].strip(), rest) if part)
        parts.append(f"## `{command.prog}`\n\n```text\n{body}\n```\n")
    settle(DOCS / "reference" / "commands.md", "\n".join(parts))


def test_the_platform_table_is_what_the_data_says() -> None:
    parts = [PLATFORMS]
    for name in known_platforms():
        platform = load_platform(name)
        outputs = platform.outputs.values()
        commands = "<br>".join(f"{o.kind}: `{_cell(o.command)}`" for o in outputs) or "none"
        driver = f"`{platform.driver}`" if platform.driver else "its own" if outputs else ""
        parts.append(f"| `{name}` | {_cell(platform.title)} | {driver} | {commands} | {platform.tested} |\n")
    settle(DOCS / "reference" / "platforms.md", "".join(parts))


def test_every_key_of_a_platform_file_is_in_the_how_to() -> None:
    file = DOCS / "how-to" / "add-a-platform.md"
    text = file.read_text(encoding="utf-8")
    before, rest = text.split("-->\n", 1)
    after = "<!-- end of keys -->" + rest.split("<!-- end of keys -->", 1)[1]
    parts = []
    for section, keys in SECTIONS.items():
        if section:
            brackets = f"[[{section}]]" if section in {"levels", "detect"} else f"[{section}]"
            parts.append(f"\n`{brackets}`\n")
        parts.append("\n| key | takes | meaning |\n|---|---|---|\n")
        parts += [
            f"| `{name}` | {key.takes}{', required' if key.required else ''} | {key.about} |\n"
            for name, key in keys.items()
        ]
    settle(file, f"{before}-->\n{''.join(parts)}\n{after}")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_platforms_of_the_how_to_are_good(tmp_path: Path, number: int) -> None:
    text = (DOCS / "how-to" / "add-a-platform.md").read_text(encoding="utf-8")
    suffix, code = re.findall(r"^```(toml|yaml)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)[number]
    name = "cisco_iosxe" if "extends" in code else "boxos"
    (tmp_path / f"{name}.{suffix}").write_text(code)
    assert len(code.splitlines()) < 20 or "levels" in code
    assert Catalogue(tmp_path).load(name).collects


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def test_the_failure_table_is_what_the_classes_permit() -> None:
    text = (DOCS / "explanation" / "failures.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE
    )
    said = [(reason, about, *(cell.startswith("yes") for cell in cells)) for reason, about, *cells in rows]
    assert said == [
        (
            failure.reason,
            (failure.__doc__ or "").split("\n")[0].strip(),
            failure.tries_next_credential,
            failure.retriable,
            failure.moves_success_rate,
            failure.spends_budget,
            failure.logged_in,
        )
        for failure in FAILURES
    ]


def _shown(default: object) -> str:
    if default is None or default in ("", ()):
        return "not told" if default is None else "empty"
    if isinstance(default, tuple):
        return json.dumps(default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_every_setting_is_documented_with_its_default() -> None:
    text = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w.]+)` \| `?([^`|]+?)`? \|", text, re.MULTILINE))
    expected = {
        f"{name}.{f.name}": _shown(f.default)
        for name, section in {
            **_SECTIONS,
            "realms.NAME": RealmSettings,
            "tags.NAME": TagSettings,
            "hooks.NAME": HookSettings,
        }.items()
        for f in fields(section)
    }
    expected["hooks.NAME.type"] = "required"
    assert rows == expected


CODE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def examples() -> Iterator[tuple[str, str]]:
    for file in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        for number, code in enumerate(CODE.findall(file.read_text(encoding="utf-8"))):
            yield f"{file.relative_to(ROOT)}#{number}", code


@pytest.mark.parametrize(("where", "code"), list(examples()))
def test_python_in_the_documents_compiles(where: str, code: str) -> None:
    compile(code, where, "exec")


async def test_the_example_of_a_test_with_fakes_runs() -> None:
    code = next(code for where, code in examples() if "test_my_report" in code)
    names: dict[str, object] = {}
    exec(compile(code, "embed.md", "exec"), names)
    run = names["test_my_report"]
    assert callable(run)
    await run()


async def test_the_example_of_a_strategy_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(code for where, code in examples() if "class LocalLast" in code)
    (tmp_path / "my_orders.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    devices = [Device(name, host="-", platform="cisco_iosxe", tags={"t"}) for name in ("r1", "r2")]
    credentials = [
        Credential("emergency", "admin", "a", tags={"t"}, priority=1, realm="local"),
        Credential("old", "svc", "b", tags={"t"}, priority=2),
        Credential("new", "svc", "c", tags={"t"}, priority=3),
    ]
    transport = FakeTransport({d.name: FakeDevice(accepts={"admin": "a", "svc": "c"}) for d in devices})
    settings = CollectSettings(strategy="my_orders:LocalLast")
    async with NetRaven.in_memory(devices, credentials, transport=transport, settings=settings) as raven:
        first = await raven.collect()
        second = await raven.collect()
    assert [outcome.attempts for outcome in first.outcomes] == [2, 2]
    assert [outcome.attempts for outcome in second.outcomes] == [1, 1]
    assert {o.credential.name for o in second.outcomes if o.credential} == {"new"}


async def test_the_verifier_of_the_how_to_knows_real_messages_from_others() -> None:
    code = next(code for where, code in examples() if "def verified" in code)
    names: dict[str, Any] = {}
    exec(compile(code, "hooks.md", "exec"), names)
    verified, secret = names["verified"], "whsec_" + base64.b64encode(b"of-the-test" * 3).decode()

    async def giving(text: str) -> str:
        return text

    async with receiving() as receiver:
        for key in (secret, "any text"):
            url = partial(giving, receiver.url())
            assert (await Webhook(url, partial(giving, key), timeout=20).tell(changed())).delivered
    first, second = receiver.posted
    assert verified(first.headers, first.body, secret)
    assert verified(second.headers, second.body, "any text")
    assert not verified(first.headers, first.body, "any text")
    assert not verified(first.headers, first.body + b" ", secret)
    assert not verified(first.headers | {"webhook-timestamp": "1700000000"}, first.body, secret)
    assert not verified(first.headers | {"webhook-id": "another"}, first.body, secret)


def test_the_message_of_the_how_to_is_one_that_is_sent() -> None:
    text = (DOCS / "how-to" / "hooks.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert json.loads(shown) == document(changed())


def test_the_hooks_of_the_how_to_are_good(tmp_path: Path) -> None:
    text = (DOCS / "how-to" / "hooks.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "netraven.toml").write_text(shown)
    settings = load_settings(tmp_path / "netraven.toml", {})
    assert set(hook_ways(settings)) == {"chat", "ticket", "night"}
    events = re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)
    assert events == [kind.value for kind in EventKind]
