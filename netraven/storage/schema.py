"""The tables. `alembic/versions` builds the same ones step by step; a test holds the two together.

Sizes that the indexes are made for: 100,000 devices, a run of them each night, so tens of millions of log rows.

- Logs keep names beside ids: removing a device or a credential sets the id to NULL and leaves history readable.
  The index that finds a device's rows by id also serves that removal; rows of removed devices are found by name
  through a partial index, which costs nothing while the device exists.
- Log tables are never scanned: each filter of the `log` commands has an index that ends in the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from netraven.model import EventKind, Origin, RunStatus, Status, Verdict, What
from netraven.storage.types import Id, Json, Name, UtcDateTime

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""Every schema revision in order; the last one is what this program reads and writes."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Hold a text column to ``values``: an enum that both databases can extend by a migration without a rewrite."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(value)) for value in values)})", name=column)


def _device(*, required: bool = False) -> Column[int]:
    """The device a row is about: goes with it where ``required``, else outlives it."""
    if required:
        return Column("device_id", Id, ForeignKey("devices.id", ondelete="CASCADE"), nullable=False)
    return Column("device_id", Id, ForeignKey("devices.id", ondelete="SET NULL"))


def _credential() -> Column[int]:
    return Column("credential_id", Id, ForeignKey("credentials.id", ondelete="SET NULL"))


def _run() -> Column[int]:
    return Column("run_id", Id, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False)


# ---- what there is to collect, and with what ----

devices = Table(
    "devices",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("platform", Text, nullable=False),
    Column("tries_per_connection", Integer),  # learned; NULL where the device never cut a connection
    Column("detected_platform", Text),  # learned, for devices of the platform `auto`
    Column("ssh_offer", Json),  # learned: what its SSH server said that it can do
    Column("ssh_offer_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,  # ids are never used again: rows elsewhere and caches speak of this very device
)

tags = Table(
    "tags",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
)

device_tags = Table(
    "device_tags",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", Id, ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "tag_id", "device_id"),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", Id, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),  # part of what a sealed secret is bound to
    Column("name", Name, nullable=False, unique=True),
    Column("username", Text, nullable=False),
    Column("realm", Text, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("secret_version", Integer, nullable=False),
    Column("sealed_password", LargeBinary),
    Column("sealed_private_key", LargeBinary),
    Column("sealed_enable", LargeBinary),
    Column("sealed_passphrase", LargeBinary),
    Column("sealed_certificate", LargeBinary),
    Column("success_rate", Float(53)),
    Column("attempts", Id, nullable=False, server_default=text("0")),
    Column("successes", Id, nullable=False, server_default=text("0")),
    Column("last_used", UtcDateTime),
    Column("last_success", UtcDateTime),
    Column("offered_when", Text, nullable=False, server_default=text("'always'")),
    Column("source", Text),  # where the secret is read; NULL: the sealed columns
    Column("source_mark", LargeBinary),  # keyed digest of what the source gave last, to notice a change
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    sqlite_autoincrement=True,
)

credential_versions = Table(  # previous secrets that are kept as a fallback for a time
    "credential_versions",
    metadata,
    Column("credential_id", Id, ForeignKey("credentials.id", ondelete="CASCADE"), primary_key=True),
    Column("secret_version", Integer, primary_key=True),
    Column("username", Text, nullable=False),
    Column("sealed_password", LargeBinary),
    Column("sealed_private_key", LargeBinary),
    Column("sealed_enable", LargeBinary),
    Column("sealed_passphrase", LargeBinary),
    Column("sealed_certificate", LargeBinary),
    Column("kept_until", UtcDateTime, nullable=False),
)

credential_tags = Table(
    "credential_tags",
    metadata,
    Column("credential_id", Id, ForeignKey("credentials.id", ondelete="CASCADE"), primary_key=True),
    Column("tag_id", Id, ForeignKey("tags.id", ondelete="CASCADE"), primary_key=True),
    Index(None, "tag_id", "credential_id"),
)

host_keys = Table(
    "host_keys",
    metadata,
    Column("id", Id, primary_key=True),
    _device(required=True),
    Column("algorithm", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'trusted'")),
    Column("origin", Text, nullable=False, server_default=text("'seen'")),
    CheckConstraint("state IN ('trusted', 'refused', 'revoked')", name="state"),
    CheckConstraint("origin IN ('seen', 'accepted', 'imported')", name="origin"),
    UniqueConstraint("device_id", "algorithm", "key"),
)

host_key_rules = (
    Table(  # lines of known_hosts that speak of patterns of hosts: authorities, and keys that are revoked
        "host_key_rules",
        metadata,
        Column("id", Id, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("patterns", Text, nullable=False),  # as in known_hosts, comma-separated
        Column("algorithm", Text, nullable=False),
        Column("key", LargeBinary, nullable=False),
        Column("fingerprint", Text, nullable=False),
        Column("added_at", UtcDateTime, nullable=False),
        CheckConstraint("kind IN ('authority', 'revoked')", name="kind"),
        UniqueConstraint("kind", "patterns", "algorithm", "key"),
    )
)

device_facts = Table(
    "device_facts",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),  # version, serial, model
    Column("value", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

# ---- runs and what came of them ----

runs = Table(
    "runs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("status", Text, nullable=False),
    Column("selector", Json, nullable=False),
    Column("strategy", Text, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("owner", Text, nullable=False),  # see owner.py
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("devices", Integer, nullable=False, server_default=text("0")),
    Column("collected", Integer, nullable=False, server_default=text("0")),
    Column("failed", Integer, nullable=False, server_default=text("0")),
    Column("skipped", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Id, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("what", Text, nullable=False, server_default=text(f"'{What.CONFIGURATION}'")),
    Column("job_id", Id),  # told by number and name, whatever becomes of the job
    Column("job_name", Text),
    Column("due_at", UtcDateTime),
    Column("finish_by", UtcDateTime),
    Column("outputs", Json),
    Column("options", Json),
    Column("priority", Integer, nullable=False, server_default=text("100")),
    Column("retry_of", Id),
    Column("eta_at", UtcDateTime),
    Column("targets_at", UtcDateTime),  # when its targets were written; NULL: not begun
    Column("missed", Integer, nullable=False, server_default=text("0")),
    Column("batch", Id, nullable=False, server_default=text("0")),  # the last one of its recorder
    _one_of("status", RunStatus),
    Index(None, "started_at"),
    Index(None, "job_id", "id"),
    Index("uq_runs_job_id_due_at", "job_id", "due_at", unique=True),  # a due time has one run
    Index(
        "ix_runs_active",
        "status",
        "priority",
        "id",
        sqlite_where=text("status IN ('queued', 'running')"),
        postgresql_where=text("status IN ('queued', 'running')"),
    ),
    sqlite_autoincrement=True,
)

run_targets = Table(  # the devices of a run that has not ended, in the order in which they are visited
    "run_targets",
    metadata,
    Column("run_id", Id, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    _device(required=True),
    Column("device_name", Name, nullable=False),
    Index(None, "device_id"),
)

run_outcomes = Table(
    "run_outcomes",
    metadata,
    Column("id", Id, primary_key=True),
    _run(),
    _device(),
    Column("device_name", Name, nullable=False),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    _credential(),
    Column("credential_name", Text),
    Column("attempts", Integer, nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("snapshot", Text),  # sha256 in hex, as reports show it
    Column("changed", Boolean),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=False),
    _one_of("status", Status),
    UniqueConstraint("run_id", "device_name"),
    Index(None, "device_id", "id"),  # how a device went the time before
    Index(None, "credential_id"),
)

credential_attempts = Table(
    "credential_attempts",
    metadata,
    Column("id", Id, primary_key=True),
    _run(),
    _device(),
    Column("device_name", Text, nullable=False),
    _credential(),
    Column("credential_name", Text, nullable=False),
    Column("credential_username", Text, nullable=False),
    Column("realm", Text, nullable=False),
    Column("secret_version", Integer, nullable=False),
    Column("reason", Text, nullable=False),  # why the strategy offered it
    Column("verdict", Text, nullable=False),
    Column("error_type", Text),
    Column("started_at", UtcDateTime, nullable=False),
    Column("concluded_at", UtcDateTime),
    Column("duration_ms", Integer),
    _one_of("verdict", Verdict),
    Index(None, "started_at"),
    Index(None, "run_id", "started_at"),
    Index(None, "device_id", "started_at"),
    Index(None, "credential_id", "started_at"),
    Index(
        "ix_credential_attempts_removed",
        "device_name",
        "started_at",
        sqlite_where=text("device_id IS NULL"),
        postgresql_where=text("device_id IS NULL"),
    ),
    sqlite_autoincrement=True,
)

credential_pairs = Table(
    "credential_pairs",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("credential_id", Id, ForeignKey("credentials.id", ondelete="CASCADE"), primary_key=True),
    Column("secret_version", Integer, primary_key=True),
    Column("last_verdict", Text, nullable=False),
    Column("last_verdict_at", UtcDateTime, nullable=False),
    Column("last_success", UtcDateTime),
    Column("failures_in_row", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    _one_of("last_verdict", Verdict),
    Index(None, "credential_id"),
)

device_standing = Table(  # how a device went lately
    "device_standing",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("collected_at", UtcDateTime),
    Column("tried_at", UtcDateTime),
    Column("reason", Text),
    Column("dead_in_row", Integer, nullable=False, server_default=text("0")),
    Column("duration_ms", Integer),
    Index(None, "collected_at"),
)

device_sessions = Table(  # who is logged in where: a device is in one session at a time
    "device_sessions",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", Id, ForeignKey("runs.id", ondelete="CASCADE"), nullable=False),
    Column("owner", Text, nullable=False),  # see owner.py
    Column("until", UtcDateTime, nullable=False),
    Index(None, "run_id"),
)

# ---- jobs, and who runs them ----

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Name, nullable=False, unique=True),
    Column("definition", Json, nullable=False),  # the table that defines it, see schedule/definition.py
    Column("enabled", Boolean, nullable=False),
    Column("origin", Text, nullable=False),
    Column("due_at", UtcDateTime),
    Column("next_run_at", UtcDateTime),
    Column("last_due_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    _one_of("origin", Origin),
    Index(None, "next_run_at"),
    sqlite_autoincrement=True,
)

daemons = Table(
    "daemons",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner", Text, nullable=False, unique=True),  # see owner.py
    Column("host", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("heartbeat_at", UtcDateTime, nullable=False),
    Column("state", Json, nullable=False),
    sqlite_autoincrement=True,
)

# ---- the lockout guard ----

lockout_accounts = Table(
    "lockout_accounts",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("username", Text, primary_key=True),
    Column("state", Json, nullable=False),  # see credentials/lockout.py; nobody else reads it
    Column("holder", Text),  # the guard that drives the account; its process as in owner.py
    Column("lease_until", UtcDateTime),
    Column("claimed_at", UtcDateTime),  # when another guard last asked for it
    Column("saved_at", UtcDateTime, nullable=False),
)

realm_pauses = Table(
    "realm_pauses",
    metadata,
    Column("realm", Text, primary_key=True),
    Column("state", Json, nullable=False),
)

# ---- logs ----

connection_logs = Table(
    "connection_logs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("timestamp", UtcDateTime, nullable=False),
    _run(),
    _device(),
    Column("device_name", Text, nullable=False),
    Column("successful", Boolean, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("error_type", Text),
    Column("error_message", Text),
    _credential(),
    Column("credential_name", Text),
    Column("credential_username", Text),
    Column("retry_count", Integer, nullable=False, server_default=text("0")),
    Index(None, "timestamp"),
    Index(None, "run_id", "timestamp"),
    Index(None, "device_id", "timestamp"),
    Index(None, "credential_id"),
    Index(
        "ix_connection_logs_removed",
        "device_name",
        "timestamp",
        sqlite_where=text("device_id IS NULL"),
        postgresql_where=text("device_id IS NULL"),
    ),
)

job_logs = Table(
    "job_logs",
    metadata,
    Column("id", Id, primary_key=True),
    _run(),
    Column("timestamp", UtcDateTime, nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("device_name", Text),
    Column("data", Json, nullable=False),
    Index(None, "timestamp"),
    Index(None, "run_id", "timestamp"),
    Index(None, "device_name", "timestamp"),
)

# ---- configurations ----

history_keys = Table(  # what configurations are encrypted and marked with, each sealed by the keyring
    "history_keys",
    metadata,
    Column("purpose", Text, primary_key=True),
    Column("number", Integer, primary_key=True),  # the highest encrypts; marks have one, for ever
    Column("sealed_key", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("purpose IN ('texts', 'marks')", name="purpose"),
)

blobs = Table(  # an ordinary rowid table: WITHOUT ROWID takes twice the space for values of this size
    "blobs",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),  # of the content as captured, not as stored
    Column("codec", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes before the codec
    Column("data", LargeBinary, nullable=False),
    Column("sealed", Boolean, nullable=False, server_default=false()),  # whether data is encrypted
    Column("base", LargeBinary),  # the content that a difference starts from; another row
    Index(None, "base", sqlite_where=text("base IS NOT NULL"), postgresql_where=text("base IS NOT NULL")),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("id", Id, primary_key=True),
    _device(required=True),
    Column("kind", Text, nullable=False),
    Column("version", Integer, nullable=False),  # from 1 for each device and kind; the highest is in force
    Column("sha256", LargeBinary, ForeignKey("blobs.sha256"), nullable=False),
    Column("size", Integer, nullable=False),  # bytes, as in blobs: a list of versions reads no texts
    Column("comparable", LargeBinary),  # digest without what changes by itself; NULL: to be computed
    Column("platform", Text, nullable=False, server_default=text("''")),
    Column("run_id", Id, ForeignKey("runs.id", ondelete="SET NULL")),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    UniqueConstraint("device_id", "kind", "version"),
    Index(None, "sha256"),
    Index(None, "run_id"),
    sqlite_autoincrement=True,
)

# ---- what others are told ----

hook_deliveries = Table(
    "hook_deliveries",
    metadata,
    Column("id", Id, primary_key=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("hook", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("run_id", Id, nullable=False),  # told to others by its number, whatever becomes of the run here
    Column("device_id", Id, ForeignKey("devices.id", ondelete="SET NULL")),
    Column("device_name", Text, nullable=False),  # empty: about the run
    Column("platform", Text, nullable=False, server_default=text("''")),
    Column("tags", Json, nullable=False),
    Column("versions", Json, nullable=False),  # ids of snapshots
    Column("data", Json, nullable=False),
    Column("happened_at", UtcDateTime, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'waiting'")),
    Column("tries", Integer, nullable=False, server_default=text("0")),
    Column("next_try_at", UtcDateTime, nullable=False),
    Column("last_error", Text),
    Column("holder", Text),  # the process that is delivering it, as in owner.py
    Column("lease_until", UtcDateTime),
    CheckConstraint("state IN ('waiting', 'given-up')", name="state"),
    _one_of("event", EventKind),
    Index(None, "hook", "state", "next_try_at", "id"),
    Index(None, "hook", "device_name", "id"),
    Index(None, "device_id"),
    sqlite_autoincrement=True,
)

hook_pauses = Table(  # hooks that could not be told anything when they were tried last
    "hook_pauses",
    metadata,
    Column("hook", Text, primary_key=True),
    Column("until", UtcDateTime, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("error", Text, nullable=False),
)
