"""What a run came to: the same document after `collect` and from `run show`, as JSON or for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from netraven.chores import PRUNED, STALE
from netraven.cli.context import Context
from netraven.cli.kinds import headline, kind_of, said_of_chore
from netraven.cli.notices import EVENTS, Guarded, in_review
from netraven.cli.screen import ROWS, Table, cell, clock, console, counted, percent, stamp, took
from netraven.model import Run, RunStatus, Selector, What
from netraven.plain import plain_line

if TYPE_CHECKING:
    from netraven.storage.logs import CredentialUse
    from netraven.storage.store import SqlStore

MEANINGS = {
    "auth_refused": "no credential that matches was accepted",
    "auth_no_verdict": "a secret was sent and not answered; no other was tried",
    "unreachable": "no connection to it, or none any more through its jump host",
    "host_key_changed": "shows another host key than before; no secret was sent",
    "host_key_unknown": "its host key is not on record; no secret was sent",
    "negotiation": "no SSH algorithm or login method in common; no secret was sent",
    "privilege_refused": "logged in, but enable was refused",
    "session_lost": "logged in, then the device hung up",
    "dialogue_timeout": "logged in, then the device fell silent",
    "command_rejected": "logged in, and the command was answered with an error",
    "output_incomplete": "logged in, and what came was not a whole configuration",
    "output_too_long": "logged in, and what came did not end",
    "platform_unknown": "logged in, and its platform was not recognised",
    "internal": "a fault of NetRaven: the log has it in full",
    "no_credentials": "no credential could be offered",
    "interrupted": "the run was stopped while the device was in session",
    "credentials_held": "what could open it is held, so that no account gets locked; nothing more was sent",
    "realm_paused": "the AAA service that judges its credentials looked unwell; nothing more was sent",
    "refused_before": "refused all that matches, not long ago; nothing was sent again",
    "window_closed": "the run had to be finished before its turn came, or before it was through with it",
}
"""What each failure class and each reason to skip a device means, in a few words."""

_WELL = ("collected", "checked")
_LEFT = {
    What.CONFIGURATION: "were not collected",
    What.REACHABILITY: "were not reached",
    What.CREDENTIALS: "did not open",
}
_UNWELL = {
    What.CONFIGURATION: "was not collected",
    What.REACHABILITY: "was not reached",
    What.CREDENTIALS: "did not open",
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as it stands on record. ``devices`` have the keys of `collect --json`."""

    run: Run
    devices: Sequence[dict[str, Any]]
    uses: Sequence[CredentialUse]
    unreadable: bool = False
    """Nothing could be offered, and not for want of credentials that match: their secrets could not be read."""
    guarded: Guarded = field(default_factory=Guarded)
    """What the lockout guard did."""
    done: Mapping[str, Any] | None = None
    """What a run has come to that visits no device, as its log has it."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Of some devices whose host key has changed, the fingerprint of the one that waits to be accepted."""

    @classmethod
    async def read(cls, store: SqlStore, run_id: int) -> RunFacts:
        run = await store.runs.get(run_id)
        unreadable = run.status is RunStatus.NO_CREDENTIALS and bool(
            await store.logs.events(run_id, ["secret_unreadable"])
        )
        outcomes = await store.logs.outcomes(run_id)
        changed = [str(d["name"]) for d in outcomes if d["reason"] == "host_key_changed"][:10]
        selector = Selector(names=frozenset(changed))
        waiting = [r async for r in store.host_keys.list(selector, state="refused")] if changed else []
        chore = [] if run.what.visits else await store.logs.events(run_id, [STALE, PRUNED])
        return cls(
            run,
            outcomes,
            await store.logs.credential_use(run_id),
            unreadable,
            in_review(await store.logs.events(run_id, EVENTS)),
            chore[-1]["data"] if chore else None,
            {record.device: record.key.fingerprint for record in waiting},
        )

    def document(self) -> dict[str, Any]:
        run = self.run
        return {
            "run": run.id,
            "what": run.what.value,
            "started_at": stamp(run.started_at),
            "finished_at": None if run.finished_at is None else stamp(run.finished_at),
            "status": run.status.value,
            "counts": asdict(run.counts),
            **origin(run),
            "devices": list(self.devices),
            "done": None if self.done is None else dict(self.done),
        }

    @property
    def unwell(self) -> list[dict[str, Any]]:
        """The devices that were neither collected nor found well."""
        return [d for d in self.devices if d["status"] not in _WELL]

    def reasons(self, status: str) -> list[tuple[str, int]]:
        found = Counter(str(d["reason"]) for d in self.devices if d["status"] == status)
        return sorted(found.items(), key=lambda item: (-item[1], item[0]))

    def named(self, reason: str) -> list[str]:
        return [str(d["name"]) for d in self.devices if d["reason"] == reason]


def origin(run: Run) -> dict[str, Any]:
    """Where a run comes from and when it is to end, as JSON has it."""
    return {
        "job": run.job,
        "due_at": run.due_at,
        "finish_by": run.finish_by,
        "eta_at": run.eta_at,
        "missed": run.missed,
        "retry_of": run.retry_of,
    }


def whence(run: Run) -> str:
    """What a run is of, in a word or two."""
    if run.job is not None:
        return f"{run.what.value}, job {run.job}"
    return f"{run.what.value}, {f'retry of {run.retry_of}' if run.retry_of is not None else 'by hand'}"


def print_report(
    context: Context, facts: RunFacts, *, each_device: bool = False, fleet_stays: bool = True
) -> None:
    """``each_device``: also name the devices that were not collected. ``fleet_stays``: they can be tried again."""
    where = console()
    _headline(where, facts)
    _origin(where, facts.run)
    if not facts.run.what.visits:
        _chore(where, context, facts)
        return
    _host_keys(where, context, facts)
    _numbers(where, facts)
    if facts.run.error:
        _line(where, Text("\nIt stopped because: ").append_text(cell(facts.run.error)))
    if each_device:
        _not_collected(where, facts)
    _credentials(where, facts)
    _guarded(where, facts)
    _look_further(where, context, facts, each_device=each_device, fleet_stays=fleet_stays)


def _chore(where: Console, context: Context, facts: RunFacts) -> None:
    if facts.run.error:
        _line(where, Text("\nNot all was done: ").append_text(cell(facts.run.error)))
    if facts.done is not None:
        _line(where)
        for sentence in said_of_chore(facts.run.what, facts.done):
            _line(where, cell(sentence))
    _line(where)
    _line(where, "To look further:")
    where.print(f"  {plain_line(context.command('log', 'job', '--run', facts.run.id), 1000)}", soft_wrap=True)
    if facts.run.what is What.STALE:
        where.print(f"  {plain_line(context.command('report', 'stale'), 1000)}", soft_wrap=True)


def _line(where: Console, text: Text | str = "") -> None:
    where.print(text, soft_wrap=not where.is_terminal)


def _headline(where: Console, facts: RunFacts) -> None:
    run = facts.run
    style = {"complete": "bold green", "partial": "bold yellow"}.get(run.status.value, "bold red")
    if run.status in (RunStatus.RUNNING, RunStatus.QUEUED):
        style = "bold"
    what = headline(run.what, run.status)
    if facts.unreadable:
        what = "no stored secret that matches could be read; nothing was sent"
    line = Text().append(f"Run {run.id}: {what}", style=style)
    if run.finished_at is not None:
        seconds = (run.finished_at - run.started_at).total_seconds()
        line.append(f"  ({took(round(seconds * 1000))}, from {clock(run.started_at)} UTC)", style="dim")
    _line(where, line)


def _origin(where: Console, run: Run) -> None:
    said = [f"of the job {plain_line(run.job)}"] if run.job is not None else []
    if run.retry_of is not None:
        said.append(f"the devices that run {run.retry_of} had left")
    if run.due_at is not None:
        said.append(f"due {clock(run.due_at)} UTC")
    if run.finish_by is not None:
        said.append(f"to be finished by {clock(run.finish_by)} UTC")
    if run.eta_at is not None:
        late = run.finish_by is not None and run.eta_at > run.finish_by
        said.append(f"expected to end {clock(run.eta_at)} UTC{', which is late' if late else ''}")
    if run.missed:
        said.append(f"{counted(run.missed, 'due time')} before it went by without a run")
    for number, line in enumerate(_wrapped(where, Text("; ".join(said), style="dim"), 4) if said else ()):
        _line(where, Text("    " if number else "  ").append_text(line))


def _numbers(where: Console, facts: RunFacts) -> None:
    counts = facts.run.counts
    rows = [("devices", counts.devices, "", "")]
    changed = sum(1 for d in facts.devices if d["changed"])
    collects = facts.run.what is What.CONFIGURATION
    about = f"{changed:,} new or changed" if collects and counts.collected else ""
    rows.append((kind_of(facts.run.what).well, counts.collected, about, "green"))
    rows.append(("failed", counts.failed, "", "red" if counts.failed else ""))
    rows += [(f"  {why}", number, MEANINGS.get(why, ""), "red") for why, number in facts.reasons("failed")]
    if counts.skipped:
        rows.append(("skipped", counts.skipped, "", "yellow"))
        rows += [
            (f"  {why}", number, MEANINGS.get(why, ""), "yellow") for why, number in facts.reasons("skipped")
        ]
    waiting = counts.devices - counts.collected - counts.failed - counts.skipped
    if waiting > 0 and facts.run.status not in (RunStatus.RUNNING, RunStatus.QUEUED):
        rows.append(("not visited", waiting, "", "yellow"))
    _line(where)
    print_numbers(where, rows)


def print_numbers(where: Console, rows: Sequence[tuple[str, int, str, str]]) -> None:
    """Each with its label before it, and behind it, dimly, what it means; the last is the style."""
    width = max(len(label) for label, *_ in rows)
    for label, number, meaning, style in rows:
        start = f"  {label:{width}}  {number:>7,}"
        lines = _wrapped(where, Text(meaning, style="dim"), len(start) + 2)
        _line(where, Text().append(start, style=style).append("  " if meaning else "").append_text(lines[0]))
        for line in lines[1:]:
            _line(where, Text(" " * (len(start) + 2)).append_text(line))


def _wrapped(where: Console, text: Text, indent: int) -> list[Text]:
    """The lines that ``text`` takes to the right of ``indent``; one where no terminal is in the way."""
    if not where.is_terminal or not text:
        return [text]
    return list(text.wrap(where, max(12, where.width - indent)))


def _host_keys(where: Console, context: Context, facts: RunFacts) -> None:
    changed = facts.named("host_key_changed")
    if not changed:
        return
    _line(where)
    headline = f"HOST KEY CHANGED on {counted(len(changed), 'device')}: nothing was sent"
    _line(where, Text(headline, style="bold white on red"))
    details = {str(d["name"]): str(d["detail"] or "") for d in facts.devices}
    for name in changed[:10]:
        text = Text(f"{plain_line(name)}: {plain_line(details[name], 1000)}")
        for number, line in enumerate(_wrapped(where, text, 4)):
            _line(where, Text("    " if number else "  ").append_text(line))
    if len(changed) > 10:
        listed = context.command("hostkey", "list", "--state", "refused")
        where.print(f"  and {len(changed) - 10:,} more: {plain_line(listed, 1000)}", soft_wrap=True)
    said = "Either a device was replaced, or something else answers in its place. Find out which. "
    waits = next((name for name in changed if name in facts.waiting), None)
    if waits is not None:
        said += "If it was replaced, compare the fingerprint with the device's own; this accepts it:"
        words: tuple[str, ...] = ("hostkey", "accept", waits, "--fingerprint", facts.waiting[waits])
    else:  # the key is revoked, or somebody has decided meanwhile
        said += "No key waits to be accepted; this lists what is on record:"
        words = ("hostkey", "show", changed[0])
    for line in _wrapped(where, Text(said), 2):
        _line(where, Text("  ").append_text(line))
    where.print(f"    {plain_line(context.command(*words), 1000)}", soft_wrap=True)


def _not_collected(where: Console, facts: RunFacts) -> None:
    missing = facts.unwell
    if not missing:
        return
    _line(where)
    table = Table(
        kind_of(facts.run.what).unwell,
        "why",
        "credential",
        "took",
        "detail",
        right=("took",),
        spare=("took", "credential"),
    )
    for device in missing[:ROWS]:
        table.add(
            device["name"],
            device["reason"],
            device["credential"],
            took(device["duration_ms"]),
            device["detail"] or "",
        )
    table.print(where)
    if len(missing) > ROWS:
        _line(where, f"The first {ROWS} of {len(missing):,}. --json has all.")


def _credentials(where: Console, facts: RunFacts) -> None:
    _line(where)
    if not facts.uses:
        if not facts.run.what.logs_in:
            _line(where, "No secret was sent.")
            return
        _line(where, "No credential was offered to any device.")
        return
    numbers = ("offered", "accepted", "refused", "no verdict", "rate now")
    spare = ("username", "no verdict", "rate now", "offered")
    table = Table("credential", "username", *numbers, right=numbers, spare=spare)
    for use in facts.uses:
        table.add(
            use.credential,
            use.username,
            f"{use.attempts:,}",
            f"{use.accepted:,}",
            f"{use.refused:,}",
            f"{use.no_verdict:,}",
            percent(use.success_rate),
        )
    table.print(where)


def _guarded(where: Console, facts: RunFacts) -> None:
    for warning in facts.guarded.warnings:
        _line(where)
        for number, line in enumerate(_wrapped(where, Text(f"WARNING: {warning}", style="yellow"), 2)):
            _line(where, Text("  " if number else "").append_text(line))
    if not facts.guarded:
        return
    _line(where)
    _line(where, "What the lockout guard did:")
    for sentence in facts.guarded.sentences[:ROWS]:
        for number, line in enumerate(_wrapped(where, Text(sentence, style="yellow"), 4)):
            _line(where, Text("    " if number else "  ").append_text(line))
    if (more := len(facts.guarded.sentences) - ROWS) > 0:
        _line(where, f"  and {more:,} more: log job has all")


def _look_further(
    where: Console, context: Context, facts: RunFacts, *, each_device: bool, fleet_stays: bool
) -> None:
    run, missing = facts.run, facts.unwell
    commands: list[tuple[str, str]] = []
    if not each_device and missing:
        commands.append((context.command("run", "show", run.id), f"each device that {_UNWELL[run.what]}"))
    if any(d["reason"] != "no_credentials" for d in facts.devices):
        commands.append((context.command("log", "connections", "--run", run.id), "one line for each device"))
    refused = next((d for d in missing if d["attempts"]), None)
    left = run.counts.devices - run.counts.collected
    ended = run.status in (RunStatus.PARTIAL, RunStatus.FAILED, RunStatus.INTERRUPTED)
    if left > 0 and ended and fleet_stays:
        commands.append((context.command("run", "retry", run.id), f"try those again that {_LEFT[run.what]}"))
    if refused is not None:
        words = ("log", "attempts", "--run", run.id, "--device", refused["name"])
        commands.append((context.command(*words), "what one device was offered, and its answers"))
    if facts.named("host_key_unknown") or facts.guarded.keys_wait:
        listed = context.command("hostkey", "list", "--state", "refused")
        commands.append((listed, "keys that wait for `hostkey accept`"))
    collected = next((d for d in facts.devices if d["status"] == "collected"), None)
    if collected is not None:
        commands.append((context.command("config", "show", collected["name"]), "a configuration"))
    _look_at_holds(context, facts, commands)
    if run.status is RunStatus.NO_DEVICES:
        commands.append((context.command("device", "list"), "which devices there are, and their tags"))
        commands.append((context.command("device", "import", "FILE"), "add devices"))
    if facts.unreadable:
        commands.append((context.command("log", "job", "--run", run.id), "why the secrets could not be read"))
        if missing:
            matched = context.command("credential", "match", missing[0]["name"])
            commands.append((matched, "which credentials of one device are affected"))
    elif run.status is RunStatus.NO_CREDENTIALS:
        commands.append((context.command("credential", "list"), "which tags the credentials have"))
        commands.append((context.command("device", "list"), "which tags the devices have"))
    if not commands:
        return
    _line(where)
    _line(where, "To look further:")
    width = max(len(command) for command, _ in commands)
    for command, what in commands:
        line = Text(f"  {plain_line(command, 1000)}")
        if width + len(what) + 8 <= where.width:
            line.append(f"{' ' * (width - len(command))}   # {what}", style="dim")
        where.print(line, soft_wrap=True)  # a command that is cut in two does not work as printed


def _look_at_holds(context: Context, facts: RunFacts, commands: list[tuple[str, str]]) -> None:
    reasons = {d["reason"] for d in facts.devices}
    held = facts.guarded.held
    if held or "credentials_held" in reasons:
        commands.append((context.command("credential", "list"), "what is held, until when and why"))
    if held:
        release = context.command("credential", "release", held[0])
        commands.append((release, "once its account is known to be well"))
    if reasons & {"credentials_held", "realm_paused"}:
        commands.append((context.command("plan"), "what the next run could offer"))
    if backed_off := facts.named("refused_before"):
        matched = context.command("credential", "match", backed_off[0])
        commands.append((matched, "what one device refused, and when it is offered again"))


def one_line(run: Run) -> str:
    counts, well = run.counts, kind_of(run.what).well
    skipped = f", {counts.skipped:,} skipped" if counts.skipped else ""
    collected = f"{counts.collected:,} of {counted(counts.devices, 'device')} {well}"
    return f"run {run.id}: {collected}, {counts.failed:,} failed{skipped}"
