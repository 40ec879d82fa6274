"""Numbered versions with their platform, encrypted configurations, and the queue of what hooks are to be told.

Revision: 0004

Types are written out here, not imported: a migration says what was true on its day.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")  # SQLite: microseconds
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
NEVER_AGAIN = {"sqlite_autoincrement": True}  # a table that is copied loses it otherwise
EVENTS = "'first-seen', 'changed', 'failed', 'failed-again', 'recovered', 'run-finished'"


def upgrade() -> None:
    op.create_table(
        "history_keys",
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("purpose IN ('texts', 'marks')", name=op.f("ck_history_keys_purpose")),
        sa.PrimaryKeyConstraint("purpose", "number", name="pk_history_keys"),
    )
    op.add_column("blobs", sa.Column("sealed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("blobs", sa.Column("base", sa.LargeBinary()))
    if op.get_bind().dialect.name == "postgresql":
        # They are compressed and encrypted: to compress them again is in vain. Beside their row they are read with it.
        op.execute("ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE blobs SET (toast_tuple_target = 8160)")
    present = sa.text("base IS NOT NULL")
    op.create_index("ix_blobs_base", "blobs", ["base"], sqlite_where=present, postgresql_where=present)
    op.add_column("snapshots", sa.Column("version", sa.Integer()))
    op.add_column("snapshots", sa.Column("size", sa.Integer()))
    op.add_column("snapshots", sa.Column("comparable", sa.LargeBinary()))
    op.add_column("snapshots", sa.Column("platform", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.execute(
        "UPDATE snapshots SET version = (SELECT count(*) FROM snapshots AS earlier WHERE earlier.device_id ="
        " snapshots.device_id AND earlier.kind = snapshots.kind AND earlier.id <= snapshots.id)"
    )
    op.execute(
        "UPDATE snapshots SET platform = (SELECT CASE WHEN platform = 'auto' THEN coalesce(detected_platform, '')"
        " ELSE platform END FROM devices WHERE devices.id = snapshots.device_id)"
    )
    op.execute("UPDATE snapshots SET size = (SELECT size FROM blobs WHERE blobs.sha256 = snapshots.sha256)")
    with op.batch_alter_table("snapshots", table_kwargs=NEVER_AGAIN) as batch:
        batch.alter_column("version", existing_type=sa.Integer(), nullable=False)
        batch.alter_column("size", existing_type=sa.Integer(), nullable=False)
        batch.create_unique_constraint(
            "uq_snapshots_device_id_kind_version", ["device_id", "kind", "version"]
        )
    op.drop_index("ix_snapshots_device_id_kind_id", table_name="snapshots")
    op.create_index("ix_run_outcomes_device_id_id", "run_outcomes", ["device_id", "id"])
    op.drop_index("ix_run_outcomes_device_id", table_name="run_outcomes")
    op.create_table(
        "hook_deliveries",
        sa.Column("id", ID, nullable=False),
        sa.Column("uid", sa.Text(), nullable=False),
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("run_id", ID, nullable=False),
        sa.Column("device_id", ID),
        sa.Column("device_name", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False, server_default=sa.text("''")),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("versions", JSON, nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.Column("happened_at", MOMENT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'waiting'")),
        sa.Column("tries", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("next_try_at", MOMENT, nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("holder", sa.Text()),
        sa.Column("lease_until", MOMENT),
        sa.CheckConstraint("state IN ('waiting', 'given-up')", name=op.f("ck_hook_deliveries_state")),
        sa.CheckConstraint(f"event IN ({EVENTS})", name=op.f("ck_hook_deliveries_event")),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_hook_deliveries_device_id", ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_hook_deliveries"),
        sa.UniqueConstraint("uid", name="uq_hook_deliveries_uid"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_hook_deliveries_hook_state_next_try_at_id",
        "hook_deliveries",
        ["hook", "state", "next_try_at", "id"],
    )
    op.create_index(
        "ix_hook_deliveries_hook_device_name_id", "hook_deliveries", ["hook", "device_name", "id"]
    )
    op.create_index("ix_hook_deliveries_device_id", "hook_deliveries", ["device_id"])
    op.create_table(
        "hook_pauses",
        sa.Column("hook", sa.Text(), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("hook", name="pk_hook_pauses"),
    )


def downgrade() -> None:
    """Raises where configurations are encrypted: 0003 could not read them."""
    sealed = (
        op.get_bind().execute(sa.text("SELECT count(*) FROM blobs WHERE sealed OR base IS NOT NULL")).scalar()
    )
    if sealed:
        raise RuntimeError(f"{sealed} configurations are stored in a form that revision 0003 cannot read")
    op.drop_table("hook_pauses")
    op.drop_table("hook_deliveries")
    op.create_index("ix_run_outcomes_device_id", "run_outcomes", ["device_id"])
    op.drop_index("ix_run_outcomes_device_id_id", table_name="run_outcomes")
    op.create_index("ix_snapshots_device_id_kind_id", "snapshots", ["device_id", "kind", "id"])
    with op.batch_alter_table("snapshots", table_kwargs=NEVER_AGAIN) as batch:
        batch.drop_constraint("uq_snapshots_device_id_kind_version", type_="unique")
        batch.drop_column("version")
        batch.drop_column("size")
        batch.drop_column("comparable")
        batch.drop_column("platform")
    op.drop_index("ix_blobs_base", table_name="blobs")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE blobs ALTER COLUMN data SET STORAGE EXTENDED")
        op.execute("ALTER TABLE blobs RESET (toast_tuple_target)")
    op.drop_column("blobs", "base")
    op.drop_column("blobs", "sealed")
    op.drop_table("history_keys")
