"""Jobs, daemons, the targets of runs, how devices went lately, and who is logged in where.

Revision: 0005

Types are written out here, not imported: a migration says what was true on its day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")  # SQLite: microseconds
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ACTIVE = "status IN ('queued', 'running')"

CHECKS = {
    ("runs", "status"): (
        "'running', 'complete', 'partial', 'failed', 'interrupted', 'no_devices', 'no_credentials'",
        "'queued', 'running', 'complete', 'partial', 'failed', 'interrupted', 'no_devices', 'no_credentials', 'missed'",
    ),
    ("run_outcomes", "status"): (
        "'collected', 'failed', 'skipped'",
        "'collected', 'failed', 'skipped', 'checked'",
    ),
    ("hook_deliveries", "event"): (
        "'first-seen', 'changed', 'failed', 'failed-again', 'recovered', 'run-finished'",
        "'first-seen', 'changed', 'failed', 'failed-again', 'recovered', 'run-finished', 'stale-devices'",
    ),
}
"""Table and column: what it was held to, and is held to now."""


def upgrade() -> None:
    for column in _columns():
        op.add_column("runs", column)
    _hold(new=True)
    op.create_index("ix_runs_job_id_id", "runs", ["job_id", "id"])
    op.create_index("uq_runs_job_id_due_at", "runs", ["job_id", "due_at"], unique=True)
    op.create_index(
        "ix_runs_active",
        "runs",
        ["status", "priority", "id"],
        sqlite_where=sa.text(ACTIVE),
        postgresql_where=sa.text(ACTIVE),
    )
    op.create_table(
        "run_targets",
        sa.Column("run_id", ID, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("device_id", ID, nullable=False),
        sa.Column("device_name", NAME, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_targets_run_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_run_targets_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "seq", name="pk_run_targets"),
    )
    op.create_index("ix_run_targets_device_id", "run_targets", ["device_id"])
    op.create_table(
        "device_standing",
        sa.Column("device_id", ID, nullable=False),
        sa.Column("collected_at", MOMENT),
        sa.Column("tried_at", MOMENT),
        sa.Column("reason", sa.Text()),
        sa.Column("dead_in_row", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("duration_ms", sa.Integer()),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_device_standing_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_standing"),
    )
    op.create_index("ix_device_standing_collected_at", "device_standing", ["collected_at"])
    op.execute(
        "INSERT INTO device_standing (device_id, collected_at, tried_at, reason, dead_in_row, duration_ms)"
        " SELECT device_id, max(CASE WHEN status = 'collected' THEN finished_at END), max(finished_at), NULL, 0,"
        " CAST(avg(CASE WHEN status = 'collected' THEN duration_ms END) AS INTEGER)"
        " FROM run_outcomes WHERE device_id IS NOT NULL AND status IN ('collected', 'failed') GROUP BY device_id"
    )
    op.execute(
        "UPDATE device_standing SET reason = (SELECT reason FROM run_outcomes WHERE id = (SELECT max(id) FROM"
        " run_outcomes WHERE run_outcomes.device_id = device_standing.device_id AND status IN ('collected', 'failed')))"
    )
    op.create_table(
        "device_sessions",
        sa.Column("device_id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_device_sessions_device_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_device_sessions_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", name="pk_device_sessions"),
    )
    op.create_index("ix_device_sessions_run_id", "device_sessions", ["run_id"])
    op.create_table(
        "jobs",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("definition", JSON, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("due_at", MOMENT),
        sa.Column("next_run_at", MOMENT),
        sa.Column("last_due_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.CheckConstraint("origin IN ('command', 'settings')", name=op.f("ck_jobs_origin")),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.UniqueConstraint("name", name="uq_jobs_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_next_run_at", "jobs", ["next_run_at"])
    op.create_table(
        "daemons",
        sa.Column("id", ID, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_daemons"),
        sa.UniqueConstraint("owner", name="uq_daemons_owner"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in ("daemons", "jobs", "device_sessions", "device_standing", "run_targets"):
        op.drop_table(table)
    op.execute("DELETE FROM hook_deliveries WHERE event = 'stale-devices'")
    op.execute("DELETE FROM run_outcomes WHERE status = 'checked'")
    op.execute("DELETE FROM runs WHERE what <> 'configuration' OR status IN ('queued', 'missed')")
    for index in ("ix_runs_active", "uq_runs_job_id_due_at", "ix_runs_job_id_id"):
        op.drop_index(index, table_name="runs")
    _hold(new=False)
    for column in reversed(_columns()):
        op.drop_column("runs", column.name)


def _columns() -> Sequence[sa.Column[Any]]:
    """What runs have beside what they had."""
    return (
        sa.Column("what", sa.Text(), nullable=False, server_default=sa.text("'configuration'")),
        sa.Column("job_id", ID),
        sa.Column("job_name", sa.Text()),
        sa.Column("due_at", MOMENT),
        sa.Column("finish_by", MOMENT),
        sa.Column("outputs", JSON),
        sa.Column("options", JSON),
        sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("100")),
        sa.Column("retry_of", ID),
        sa.Column("eta_at", MOMENT),
        sa.Column("targets_at", MOMENT),
        sa.Column("missed", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("batch", ID, nullable=False, server_default=sa.text("0")),
    )


def _hold(*, new: bool) -> None:
    """Hold text columns to other values.

    SQLite changes a constraint by a copy of the whole table, and other tables' rows hang on these; the constraint of
    rows that all fit it is a text in the schema only, so that text is changed (see "Making Other Kinds Of Table
    Schema Changes" in SQLite's documentation of ALTER TABLE).
    """
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    for (table, column), values in CHECKS.items():
        before, after = (f"{column} IN ({listed})" for listed in (values if new else reversed(values)))
        if not sqlite:
            for known in sa.inspect(connection).get_check_constraints(table):
                name = known["name"]
                if name is not None and name.endswith(f"_{table}_{column}"):  # some have their prefix twice
                    op.drop_constraint(op.f(name), table, type_="check")
            op.create_check_constraint(op.f(f"ck_{table}_{column}"), table, after)
            continue
        version = connection.execute(sa.text("PRAGMA schema_version")).scalar_one()
        connection.execute(sa.text("PRAGMA writable_schema = ON"))
        changed = connection.execute(
            sa.text(
                "UPDATE sqlite_master SET sql = replace(sql, :before, :after) WHERE type = 'table' AND name = :table"
                " AND instr(sql, :before) > 0"
            ),
            {"before": before, "after": after, "table": table},
        )
        if changed.rowcount != 1:
            raise RuntimeError(f"{table}.{column} is not held to what it was held to")
        connection.execute(sa.text(f"PRAGMA schema_version = {version + 1}"))
        connection.execute(sa.text("PRAGMA writable_schema = OFF"))
