"""Lockout guard, kept secrets, secret sources, and what a device allows on one connection.

Revision: 0002

Types are written out here, not imported: a migration says what was true on its day.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")  # SQLite: microseconds
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("devices", sa.Column("tries_per_connection", sa.Integer()))
    op.add_column(
        "credentials",
        sa.Column("offered_when", sa.Text(), nullable=False, server_default=sa.text("'always'")),
    )
    op.add_column("credentials", sa.Column("source", sa.Text()))
    op.add_column("credentials", sa.Column("source_mark", sa.LargeBinary()))
    op.drop_column("credentials", "held_until")  # follows from the account's state now
    op.create_table(
        "credential_versions",
        sa.Column("credential_id", ID, nullable=False),
        sa.Column("secret_version", sa.Integer(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("sealed_password", sa.LargeBinary()),
        sa.Column("sealed_private_key", sa.LargeBinary()),
        sa.Column("sealed_enable", sa.LargeBinary()),
        sa.Column("kept_until", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name="fk_credential_versions_credential_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", "secret_version", name="pk_credential_versions"),
    )
    op.create_table(
        "lockout_accounts",
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.Column("holder", sa.Text()),
        sa.Column("lease_until", MOMENT),
        sa.Column("claimed_at", MOMENT),
        sa.Column("saved_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("realm", "username", name="pk_lockout_accounts"),
    )
    op.create_table(
        "realm_pauses",
        sa.Column("realm", sa.Text(), nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.PrimaryKeyConstraint("realm", name="pk_realm_pauses"),
    )


def downgrade() -> None:
    for table in ("realm_pauses", "lockout_accounts", "credential_versions"):
        op.drop_table(table)
    op.add_column("credentials", sa.Column("held_until", MOMENT))
    for column in ("source_mark", "source", "offered_when"):
        op.drop_column("credentials", column)
    op.drop_column("devices", "tries_per_connection")
