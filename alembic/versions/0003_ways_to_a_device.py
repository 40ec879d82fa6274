"""Host keys with a state and an origin, what SSH servers offer, found platforms, facts, keys with a passphrase.

Revision: 0003

Types are written out here, not imported: a migration says what was true on its day.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime(timezone=True).with_variant(sa.BigInteger(), "sqlite")  # SQLite: microseconds
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    op.add_column("devices", sa.Column("detected_platform", sa.Text()))
    op.add_column("devices", sa.Column("ssh_offer", JSON))
    op.add_column("devices", sa.Column("ssh_offer_at", MOMENT))
    for table in ("credentials", "credential_versions"):
        op.add_column(table, sa.Column("sealed_passphrase", sa.LargeBinary()))
        op.add_column(table, sa.Column("sealed_certificate", sa.LargeBinary()))
    with op.batch_alter_table("host_keys") as batch:
        batch.add_column(sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'trusted'")))
        batch.add_column(sa.Column("origin", sa.Text(), nullable=False, server_default=sa.text("'seen'")))
        batch.create_check_constraint("state", "state IN ('trusted', 'refused', 'revoked')")
        batch.create_check_constraint("origin", "origin IN ('seen', 'accepted', 'imported')")
    op.create_table(
        "host_key_rules",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("patterns", sa.Text(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("added_at", MOMENT, nullable=False),
        sa.CheckConstraint("kind IN ('authority', 'revoked')", name=op.f("ck_host_key_rules_kind")),
        sa.PrimaryKeyConstraint("id", name="pk_host_key_rules"),
        sa.UniqueConstraint(
            "kind", "patterns", "algorithm", "key", name="uq_host_key_rules_kind_patterns_algorithm_key"
        ),
    )
    op.create_table(
        "device_facts",
        sa.Column("device_id", ID, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["device_id"], ["devices.id"], name="fk_device_facts_device_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("device_id", "name", name="pk_device_facts"),
    )


def downgrade() -> None:
    op.drop_table("device_facts")
    op.drop_table("host_key_rules")
    op.execute(
        "DELETE FROM host_keys WHERE state <> 'trusted'"
    )  # to 0002, each key on record is one to trust
    with op.batch_alter_table("host_keys") as batch:
        batch.drop_constraint(op.f("ck_host_keys_state"), type_="check")
        batch.drop_constraint(op.f("ck_host_keys_origin"), type_="check")
        batch.drop_column("state")
        batch.drop_column("origin")
    for table in ("credential_versions", "credentials"):
        op.drop_column(table, "sealed_certificate")
        op.drop_column(table, "sealed_passphrase")
    for column in ("ssh_offer_at", "ssh_offer", "detected_platform"):
        op.drop_column("devices", column)
