"""Every command, its options and what it is for. Standard library only: `netraven --help` costs no more than this.

A handler is named as text (`module:function`) and imported once its command is called. Its options arrive as keyword
arguments, its context first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from netraven.cli.check_words import check_commands, report_commands
from netraven.cli.config_words import config_commands
from netraven.cli.git_words import git_commands, import_git_verb
from netraven.cli.history_words import archive_verbs, prune_command
from netraven.cli.hook_words import hook_commands
from netraven.cli.job_words import job_commands, status_command
from netraven.cli.words import (
    KEEP_DAYS,
    Done,
    NeverAnArgument,
    Parser,
    Version,
    days,
    group,
    json_option,
    limits,
    number,
    positive,
    selecting,
    tag_list,
    verb,
)

HANDLERS = "netraven.cli"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A command that fits."""

    handler: str
    options: dict[str, Any] = field(default_factory=dict)
    config: str | None = None


def parse(argv: Sequence[str]) -> Wanted:
    """Raise ``UsageError`` or ``Done`` where there is no command to run."""
    top = _top()
    if not argv:
        raise Done(top.format_help().rstrip())
    found, unknown = top.parse_known_args(argv)
    values = vars(found)
    command: Parser = values.pop("_parser")
    if unknown:
        command.refuse(unknown)
    handler = values.pop("_handler", None)
    if handler is None:
        command.error(f"say what to do: {', '.join(command.verbs)}")
    return Wanted(f"{HANDLERS}.{handler}", config=values.pop("config", None), options=values)


_ABOUT = """\
NetRaven collects the configurations of network devices, and knows which credential opens which device.

  netraven demo                        watch it collect a simulated fleet; needs nothing set up
  netraven init                        settings, key and database in this directory
  netraven credential add NAME ...     what to log in with, and where
  netraven device import FILE          what to log in to
  netraven plan                        what would happen
  netraven collect                     do it
  netraven config diff DEVICE          what has changed"""

_CODES = """\
exit codes: 0 done; 1 some devices were not collected; 2 usage, settings or input, or the output cannot be written;
70 a fault of NetRaven; 130 interrupted; 141 whoever read the output has gone
logs and progress go to stderr, results to stdout; --json prints exactly one JSON document there"""


def _top() -> Parser:
    top = Parser(prog="netraven", description=_ABOUT, epilog=_CODES)
    top.add_argument("--version", action=Version, help="the version")
    commands = top.commands("COMMAND")
    _setting_up(commands)
    _devices(commands)
    _platforms(commands)
    _host_keys(commands)
    _credentials(commands)
    _secrets(commands)
    _collecting(commands)
    job_commands(commands)
    check_commands(commands)
    _serving(commands)
    status_command(commands)
    _reading(commands)
    report_commands(commands)
    config_commands(commands)
    git_commands(commands)
    _history(commands)
    hook_commands(commands)
    prune_command(commands)
    _database(commands)
    return top


def _setting_up(commands: Any) -> None:
    init = verb(commands, "init", "setup:init", "write settings, a new key and a database; twice is harmless")
    init.add_argument("directory", nargs="?", default=".", metavar="DIR", help="where (default: here)")
    demo = verb(
        commands,
        "demo",
        "demo:demo",
        "collect a simulated fleet on this machine, and explain what happens",
        "Real SSH over loopback, four credentials, some devices that are ill. Ends by itself.",
    )
    demo.add_argument("--devices", type=positive, default=200, metavar="N", help="how many (default 200)")
    demo.add_argument(
        "--keep", metavar="DIR", help="where settings and database go (default: a new folder in /tmp)"
    )


def _platforms(commands: Any) -> None:
    platform = group(commands, "platform", "the dialects that devices speak: list, show, check")
    json_option(verb(platform, "list", "platforms:show_all", "those that ship, and those of your own"))
    one = verb(platform, "show", "platforms:show", "one platform: commands, prompts, what it hides")
    one.add_argument("name", metavar="NAME")
    json_option(one)
    check = verb(
        platform,
        "check",
        "platforms:check",
        "check a platform file; with --device, try it",
        "A trial logs in to one device of the inventory as a run does, guarded and on record, and shows what is typed\n"
        "(>) and what comes back (<), without secrets. It stores no configuration.",
    )
    check.add_argument("file", metavar="FILE", help="the file (.toml, .yaml)")
    check.add_argument("--device", metavar="NAME", help="collect this device with it, and store nothing")
    check.add_argument("--credential", metavar="NAME", help="offer this credential only")
    json_option(check)


def _devices(commands: Any) -> None:
    device = group(
        commands, "device", "the devices: import, list, show, remove, forget-host-key, ssh, ssh-report"
    )
    load = verb(
        device,
        "import",
        "devices:import_file",
        "add or change devices from a CSV file; a bad file changes nothing",
        "Columns, in any order: name,host,port,platform,tags. An empty port is 22; tags are separated by ';'.\n"
        "A device of a known name is changed to what the file says.",
    )
    load.add_argument("file", metavar="FILE", help="the file; - for stdin")
    load.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
    shown = verb(device, "list", "devices:show_all", "the devices, by name")
    shown.add_argument(
        "--tag", action="append", default=[], metavar="T", help="only with this tag; may be repeated"
    )
    limits(shown, time=False)
    json_option(shown)
    one = verb(device, "show", "devices:show", "one device, its host keys and how it last went")
    one.add_argument("name", metavar="NAME")
    json_option(one)
    gone = verb(
        device, "remove", "devices:remove", "remove devices and their configurations; logs keep their names"
    )
    gone.add_argument("names", nargs="+", metavar="NAME")
    forget = verb(
        device,
        "forget-host-key",
        "devices:forget_host_key",
        "after a device was replaced: take the host key that it shows next (as hostkey forget)",
    )
    forget.add_argument("name", metavar="NAME")
    ssh = verb(
        device,
        "ssh",
        "device_ssh:show",
        "what a device's SSH server offers, what of it is weak, and what NetRaven uses",
        "Connects and exchanges keys; does not log in. What it sees is remembered.",
    )
    ssh.add_argument("device", metavar="DEVICE")
    ssh.add_argument("--stored", action="store_true", help="do not connect: what was seen last")
    json_option(ssh)
    weak = verb(
        device, "ssh-report", "device_ssh:report", "the devices whose SSH is weak, and those not yet seen"
    )
    weak.add_argument(
        "--tag",
        dest="tags",
        action="append",
        default=[],
        metavar="T",
        help="only with this tag; may be repeated",
    )
    limits(weak, time=False)
    json_option(weak)


def _host_keys(commands: Any) -> None:
    hostkey = group(
        commands, "hostkey", "SSH host keys: list, show, accept, forget, import, rules, forget-rule"
    )
    shown = verb(hostkey, "list", "hostkeys:show_all", "the keys on record, by device")
    selecting(shown)
    shown.add_argument(
        "--state",
        choices=("trusted", "refused", "revoked"),
        help="refused: shown once, and waiting for a person",
    )
    limits(shown, time=False)
    json_option(shown)
    rules = verb(
        hostkey,
        "rules",
        "hostkeys:show_rules",
        "authorities that sign host keys, and keys revoked for patterns of hosts",
        "They come from lines of known_hosts with @cert-authority and @revoked.",
    )
    json_option(rules)
    unrule = verb(hostkey, "forget-rule", "hostkeys:forget_rules", "take such rules away, by their numbers")
    unrule.add_argument(
        "rules", nargs="+", type=positive, metavar="RULE", help="its number in `hostkey rules`"
    )
    one = verb(hostkey, "show", "hostkeys:show", "every key of a device")
    one.add_argument("device", metavar="DEVICE")
    one.add_argument("--known-hosts", action="store_true", help="as lines of OpenSSH's known_hosts")
    json_option(one)
    accept = verb(
        hostkey,
        "accept",
        "hostkeys:accept",
        "trust the key that a device has shown and that was not let pass",
        "It takes the place of the trusted keys of the same algorithm. Compare the fingerprint with the device's own\n"
        "first (console: show ip ssh, show ssh server ...).",
    )
    accept.add_argument("device", metavar="DEVICE")
    accept.add_argument(
        "--fingerprint", metavar="SHA256:...", help="the key that is meant; without it you are asked"
    )
    accept.add_argument("--add", action="store_true", help="replace no other key")
    accept.add_argument("--scan", action="store_true", help="fetch the key now, without logging in")
    forget = verb(
        hostkey,
        "forget",
        "hostkeys:forget",
        "take a device's keys off the record; the next one it shows is new",
    )
    forget.add_argument("device", metavar="DEVICE")
    forget.add_argument("--algorithm", metavar="A", help="only keys of this one (ssh-rsa ...)")
    load = verb(
        hostkey,
        "import",
        "hostkeys:load",
        "trust the keys of an OpenSSH known_hosts file; a bad file changes nothing",
        "Names are matched with the host, [host]:port and name of every device; hashed names, wildcards,\n"
        "@cert-authority and @revoked are understood.",
    )
    load.add_argument("file", metavar="FILE", help="the file; - for stdin")
    load.add_argument("--dry-run", action="store_true", help="say what would change, change nothing")
    json_option(load)


_SECRETS = """\
The secret comes from one of the options below; without any, it is asked for. Never as an argument.
A credential is offered to the devices that carry at least one of its tags. Lower priorities go first where nothing
is known yet of what opens a device."""


def _credentials(commands: Any) -> None:
    credential = group(
        commands, "credential", "what to log in with: add, update, list, release, remove, report, match"
    )
    add = verb(credential, "add", "credentials:add", "add a credential", _SECRETS)
    update = verb(
        credential,
        "update",
        "credentials:update",
        "change a credential; what is not given stays as it is",
        "A new secret or username starts a new version: what was learned of the old one is forgotten.\n"
        "A password alone takes the place of a key too, and a key alone that of a password: to keep both, give both.",
    )
    for parser, new in ((add, True), (update, False)):
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("--username", required=new, metavar="U", help="the user to log in as")
        parser.add_argument(
            "--tags", type=tag_list, metavar="a,b", help="devices with any of these are offered it"
        )
        default = " (default 100)" if new else ""
        parser.add_argument("--priority", type=number, metavar="N", help=f"lower goes first{default}")
        default = " (default: default)" if new else ""
        parser.add_argument(
            "--realm", metavar="R", help=f"who judges the password; 'local': each device{default}"
        )
        parser.add_argument(
            "--when",
            choices=("always", "aaa-down"),
            help="aaa-down: break-glass, offered only while the device's AAA gives no verdict",
        )
        password = parser.add_mutually_exclusive_group()
        password.add_argument(
            "--password-stdin", action="store_true", help="the password is one line on stdin"
        )
        password.add_argument(
            "--password-env", metavar="VAR", help="the password is in this environment variable"
        )
        place = parser.add_mutually_exclusive_group()
        place.add_argument(
            "--private-key",
            metavar="FILE",
            help="log in with this SSH key; with a password too, the key goes first",
        )
        place.add_argument(
            "--agent",
            nargs="?",
            const="",
            metavar="KEY",
            help="the ssh agent has the key: its SHA256: fingerprint or its comment; without KEY any that it has",
        )
        place.add_argument(
            "--source",
            metavar="SOURCE",
            help="read password or key there for each run: env:NAME, file:PATH, command:PROGRAM ARGUMENTS..., "
            "vault:PATH#FIELD",
        )
        parser.add_argument(
            "--passphrase-env", metavar="VAR", help="what opens the private key is in this variable"
        )
        parser.add_argument(
            "--certificate", metavar="FILE", help="the key's OpenSSH certificate (KEY-cert.pub)"
        )
        parser.add_argument(
            "--enable-password-env", metavar="VAR", help="the enable secret is in this variable"
        )
        for trap in ("--password", "--secret", "--passphrase", "--enable-password", "--enable-secret"):
            parser.add_argument(trap, action=NeverAnArgument)
    update.add_argument("--ask", action="store_true", help="ask for a new password")
    update.add_argument(
        "--keep-previous",
        type=days,
        nargs="?",
        const=KEEP_DAYS,
        metavar="DAYS",
        help=f"keep the previous secret as a fallback so long (without a number: {KEEP_DAYS}); 0 forgets what is kept",
    )
    shown = verb(
        credential,
        "list",
        "credentials:show_all",
        "the credentials, how they do and what is held; no secrets",
    )
    json_option(shown)
    freed = verb(
        credential,
        "release",
        "credentials:release",
        "lift the hold of a credential's account by hand",
        "The refusals on record of the account are forgotten, and a pause of its realm ends. Do this once the service\n"
        "that judges the account has forgotten them too: somebody has unlocked it, or its window is over.",
    )
    freed.add_argument("name", metavar="NAME")
    gone = verb(credential, "remove", "credentials:remove", "remove a credential; logs keep its name")
    gone.add_argument("name", metavar="NAME")
    report = verb(
        credential,
        "report",
        "credential_report:report",
        "which devices accept which version of its secret, and which are not proven yet",
    )
    report.add_argument("name", metavar="NAME")
    limits(report, time=False)
    json_option(report)
    match = verb(
        credential, "match", "credentials:match", "what would be offered to a device, in order, and why"
    )
    match.add_argument("device", metavar="DEVICE")
    match.add_argument("--strategy", metavar="S", help="as if collected with this one")
    json_option(match)


def _secrets(commands: Any) -> None:
    secrets = group(commands, "secrets", "how secrets are stored: rotate")
    rotate = verb(
        secrets,
        "rotate",
        "secrets:rotate",
        "seal every stored secret anew under a new key, while collectors go on",
        "The new key becomes the first one of the key file; the old ones stay below it and still open. What was\n"
        "interrupted is gone on with when the command is given again.",
    )
    rotate.add_argument(
        "--remove-old",
        action="store_true",
        help="then take those keys out of the key file that no stored secret needs any more",
    )


def _collecting(commands: Any) -> None:
    collect = verb(
        commands,
        "collect",
        "collect:collect",
        "log in to the devices and keep their configurations",
        "All devices, or those with any of the tags, or those named; with both, those named that have a tag of them.\n"
        "Ctrl-C stops; what was collected is kept.",
    )
    selecting(collect)
    collect.add_argument("--concurrency", type=positive, metavar="N", help="devices in session at once")
    collect.add_argument(
        "--strategy", metavar="S", help="last-good, explore, success-rate, priority, or module:Class"
    )
    collect.add_argument(
        "--output",
        action="append",
        default=[],
        dest="outputs",
        metavar="KIND",
        help="collect this kind of output (running, version ...), whatever settings say; may be repeated",
    )
    json_option(collect)
    plan = verb(
        commands,
        "plan",
        "plan:plan",
        "what collect would do, and what it could cost at worst; touches nothing",
        "Devices by their first offer, attempts to expect, refusals that each account risks, what is held, and\n"
        "devices that nothing can be offered to (exit code 1). No connection, no secret is read, nothing is written.",
    )
    selecting(plan)
    plan.add_argument(
        "--strategy", metavar="S", help="last-good, explore, success-rate, priority, or module:Class"
    )
    json_option(plan)


def _serving(commands: Any) -> None:
    verb(
        commands,
        "serve",
        "serve:serve",
        "run jobs on their schedules, and runs that wait, until told to stop: the daemon",
        "Tells systemd how it goes (Type=notify), and answers /healthz, /readyz and /metrics on a local port.\n"
        "SIGTERM ends it: sessions get [daemon] drain seconds, what is left of a run is gone on with by the next one.\n"
        "A second SIGTERM cuts them. SIGHUP reads the settings again; wrong ones are told, and the old ones stay.",
    )


def _reading(commands: Any) -> None:
    run = group(commands, "run", "past runs: list, show, retry")
    runs = verb(run, "list", "runs:show_all", "the runs, newest last")
    limits(runs)
    json_option(runs)
    one = verb(run, "show", "runs:show", "one run: numbers, what was not collected, what credentials did")
    one.add_argument("run", type=positive, metavar="RUN", help="its number")
    json_option(one)
    again = verb(
        run,
        "retry",
        "runs:retry",
        "a new run of the devices that were not collected in one",
        "The same outputs and the same strategy. Secrets that a device has refused are not offered to it again before\n"
        "their time, as ever.",
    )
    again.add_argument("run", type=positive, metavar="RUN", help="its number")
    again.add_argument("--concurrency", type=positive, metavar="N", help="devices in session at once")
    json_option(again)
    log = group(commands, "log", "what happened: connections, attempts, job")
    for name, about in (
        ("connections", "one line for each device and run: how it went, with which credential"),
        ("attempts", "one line for each secret that was offered, and the answer"),
        ("job", "what a run had to say"),
    ):
        rows = verb(log, name, f"logs:{name}", about)
        rows.add_argument("--device", metavar="D", help="only this device")
        rows.add_argument("--run", type=positive, metavar="R", help="only this run")
        limits(rows)
        json_option(rows)


def _history(commands: Any) -> None:
    history = group(commands, "history", "the history as a whole: export, import, import-git")
    archive_verbs(history)
    import_git_verb(history)


def _database(commands: Any) -> None:
    db = group(commands, "db", "the database: upgrade, check")
    verb(
        db,
        "upgrade",
        "database:upgrade",
        "create the database, or bring it to this program's version",
        "Let runs of an older program end before: they cannot record what they do from then on.",
    )
    check = verb(
        db, "check", "database:check", "look the database over; exit 0: well, 1: findings, 2: unusable"
    )
    json_option(check)
