"""The first schema.

Revision: 0001

Types and values are written out here, not imported: a migration says what was true on its day.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")  # SQLite: microseconds
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
ZERO = sa.text("0")
REMOVED: dict[str, Any] = {
    "sqlite_where": sa.text("device_id IS NULL"),
    "postgresql_where": sa.text("device_id IS NULL"),
}


def upgrade() -> None:
    _inventory()
    _runs()
    _logs()
    _configurations()


def downgrade() -> None:
    for table in (
        "snapshots",
        "blobs",
        "job_logs",
        "connection_logs",
        "credential_pairs",
        "credential_attempts",
        "run_outcomes",
        "runs",
        "host_keys",
        "credential_tags",
        "credentials",
        "device_tags",
        "tags",
        "devices",
    ):
        op.drop_table(table)  # and its indexes with it


def _inventory() -> None:
    op.create_table(
        "devices",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_devices"),
        sa.UniqueConstraint("name", name="uq_devices_name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tags",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tags"),
        sa.UniqueConstraint("name", name="uq_tags_name"),
    )
    op.create_table(
        "device_tags",
        sa.Column("device_id", ID, nullable=False),
        sa.Column("tag_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_device_tags_device_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["tag_id"], ["tags.id"], name="fk_device_tags_tag_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("device_id", "tag_id", name="pk_device_tags"),
    )
    op.create_index("ix_device_tags_tag_id_device_id", "device_tags", ["tag_id", "device_id"])
    op.create_table(
        "credentials",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("sealed_password", sa.LargeBinary()),
        sa.Column("sealed_private_key", sa.LargeBinary()),
        sa.Column("sealed_enable", sa.LargeBinary()),
        sa.Column("success_rate", sa.Float(precision=53)),
        sa.Column("attempts", ID, server_default=ZERO, nullable=False),
        sa.Column("successes", ID, server_default=ZERO, nullable=False),
        sa.Column("last_used", MOMENT),
        sa.Column("last_success", MOMENT),
        sa.Column("held_until", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_credentials"),
        sa.UniqueConstraint("name", name="uq_credentials_name"),
        sa.UniqueConstraint("uid", name="uq_credentials_uid"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "credential_tags",
        sa.Column("credential_id", ID, nullable=False),
        sa.Column("tag_id", ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credentials.id"], name="fk_credential_tags_credential_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tag_id"], ["tags.id"], name="fk_credential_tags_tag_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("credential_id", "tag_id", name="pk_credential_tags"),
    )
    op.create_index("ix_credential_tags_tag_id_credential_id", "credential_tags", ["tag_id", "credential_id"])
    op.create_table(
        "host_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("device_id", ID, nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_host_keys_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_host_keys"),
        sa.UniqueConstraint("device_id", "algorithm", "key", name="uq_host_keys_device_id_algorithm_key"),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("selector", JSON, nullable=False),
        sa.Column("strategy", sa.Text(), nullable=False),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("heartbeat_at", MOMENT, nullable=False),
        sa.Column("devices", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("collected", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("failed", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("skipped", sa.Integer(), server_default=ZERO, nullable=False),
        sa.Column("attempts", ID, server_default=ZERO, nullable=False),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint(
            "status IN ('running', 'complete', 'partial', 'failed', 'interrupted', 'no_devices', 'no_credentials')",
            name="ck_runs_status",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_started_at", "runs", ["started_at"])
    op.create_table(
        "run_outcomes",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("device_id", ID),
        sa.Column("device_name", NAME, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("detail", sa.Text()),
        sa.Column("credential_id", ID),
        sa.Column("credential_name", sa.Text()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("retry_count", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("snapshot", sa.Text()),
        sa.Column("changed", sa.Boolean()),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=False),
        sa.CheckConstraint("status IN ('collected', 'failed', 'skipped')", name="ck_run_outcomes_status"),
        sa.ForeignKeyConstraint(
            ["credential_id"], ["credentials.id"], name="fk_run_outcomes_credential_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_run_outcomes_device_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_run_outcomes_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_run_outcomes"),
        sa.UniqueConstraint("run_id", "device_name", name="uq_run_outcomes_run_id_device_name"),
    )
    op.create_index("ix_run_outcomes_credential_id", "run_outcomes", ["credential_id"])
    op.create_index("ix_run_outcomes_device_id", "run_outcomes", ["device_id"])
    op.create_table(
        "credential_attempts",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("device_id", ID),
        sa.Column("device_name", sa.Text(), nullable=False),
        sa.Column("credential_id", ID),
        sa.Column("credential_name", sa.Text(), nullable=False),
        sa.Column("credential_username", sa.Text(), nullable=False),
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("error_type", sa.Text()),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("concluded_at", MOMENT),
        sa.Column("duration_ms", sa.Integer()),
        sa.CheckConstraint(
            "verdict IN ('pending', 'accepted', 'refused', 'no_verdict')",
            name="ck_credential_attempts_verdict",
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name="fk_credential_attempts_credential_id",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_credential_attempts_device_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_credential_attempts_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_credential_attempts"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_credential_attempts_credential_id_started_at",
        "credential_attempts",
        ["credential_id", "started_at"],
    )
    op.create_index(
        "ix_credential_attempts_device_id_started_at", "credential_attempts", ["device_id", "started_at"]
    )
    op.create_index(
        "ix_credential_attempts_removed", "credential_attempts", ["device_name", "started_at"], **REMOVED
    )
    op.create_index(
        "ix_credential_attempts_run_id_started_at", "credential_attempts", ["run_id", "started_at"]
    )
    op.create_index("ix_credential_attempts_started_at", "credential_attempts", ["started_at"])
    op.create_table(
        "credential_pairs",
        sa.Column("device_id", ID, nullable=False),
        sa.Column("credential_id", ID, nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("last_verdict", sa.Text(), nullable=False),
        sa.Column("last_verdict_at", MOMENT, nullable=False),
        sa.Column("last_success", MOMENT),
        sa.Column("failures_in_row", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "last_verdict IN ('pending', 'accepted', 'refused', 'no_verdict')",
            name="ck_credential_pairs_last_verdict",
        ),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name="fk_credential_pairs_credential_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_credential_pairs_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", "credential_id", "secret_version", name="pk_credential_pairs"),
    )
    op.create_index("ix_credential_pairs_credential_id", "credential_pairs", ["credential_id"])


def _logs() -> None:
    op.create_table(
        "connection_logs",
        sa.Column("id", ID, nullable=False),
        sa.Column("timestamp", MOMENT, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("device_id", ID),
        sa.Column("device_name", sa.Text(), nullable=False),
        sa.Column("successful", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("error_type", sa.Text()),
        sa.Column("error_message", sa.Text()),
        sa.Column("credential_id", ID),
        sa.Column("credential_name", sa.Text()),
        sa.Column("credential_username", sa.Text()),
        sa.Column("retry_count", sa.Integer(), server_default=ZERO, nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name="fk_connection_logs_credential_id",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_connection_logs_device_id", ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.id"], name="fk_connection_logs_run_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_connection_logs"),
    )
    op.create_index("ix_connection_logs_credential_id", "connection_logs", ["credential_id"])
    op.create_index("ix_connection_logs_device_id_timestamp", "connection_logs", ["device_id", "timestamp"])
    op.create_index("ix_connection_logs_removed", "connection_logs", ["device_name", "timestamp"], **REMOVED)
    op.create_index("ix_connection_logs_run_id_timestamp", "connection_logs", ["run_id", "timestamp"])
    op.create_index("ix_connection_logs_timestamp", "connection_logs", ["timestamp"])
    op.create_table(
        "job_logs",
        sa.Column("id", ID, nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("timestamp", MOMENT, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("device_name", sa.Text()),
        sa.Column("data", JSON, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_job_logs_run_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_job_logs"),
    )
    op.create_index("ix_job_logs_device_name_timestamp", "job_logs", ["device_name", "timestamp"])
    op.create_index("ix_job_logs_run_id_timestamp", "job_logs", ["run_id", "timestamp"])
    op.create_index("ix_job_logs_timestamp", "job_logs", ["timestamp"])


def _configurations() -> None:
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("codec", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_blobs"),
    )
    op.create_table(
        "snapshots",
        sa.Column("id", ID, nullable=False),
        sa.Column("device_id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("run_id", ID),
        sa.Column("first_seen_at", MOMENT, nullable=False),
        sa.Column("last_seen_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_snapshots_device_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_snapshots_run_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["sha256"], ["blobs.sha256"], name="fk_snapshots_sha256"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_snapshots_device_id_kind_id", "snapshots", ["device_id", "kind", "id"])
    op.create_index("ix_snapshots_run_id", "snapshots", ["run_id"])
    op.create_index("ix_snapshots_sha256", "snapshots", ["sha256"])
