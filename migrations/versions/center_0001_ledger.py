"""The ledger: log, heads, entries, manifests, records."""

import sqlalchemy as sa
from alembic import op

revision = "center_0001"
down_revision = None
branch_labels = ("center",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log"),
        sa.UniqueConstraint("origin", name="uq_log_origin"),
    )
    op.create_table(
        "log_head",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("frontier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", name="pk_log_head"),
        sa.ForeignKeyConstraint(["log"], ["log.id"], name="fk_log_head_log_log"),
    )
    op.create_table(
        "head",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("receipt_protected", sa.LargeBinary(), nullable=False),
        sa.Column("receipt_signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "size", name="pk_head"),
        sa.ForeignKeyConstraint(["log"], ["log.id"], name="fk_head_log_log"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "entry",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Integer(), nullable=False),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("identity", sa.LargeBinary(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "entry_index", name="pk_entry"),
        sa.ForeignKeyConstraint(["log"], ["log.id"], name="fk_entry_log_log"),
        sqlite_with_rowid=False,
    )
    op.create_index("uq_entry_log_identity", "entry", ["log", "identity"], unique=True)
    op.create_index(
        "ix_entry_governance",
        "entry",
        ["log", "entry_index"],
        sqlite_where=sa.text("kind = 3"),
        postgresql_where=sa.text("kind = 3"),
    )
    op.create_table(
        "manifest",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", "entry_index", name="pk_manifest"),
        sa.ForeignKeyConstraint(["log"], ["log.id"], name="fk_manifest_log_log"),
    )
    op.create_table(
        "record",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("staged", sa.BigInteger(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("digest", name="pk_record"),
    )
    op.create_index(
        "ix_record_staged",
        "record",
        ["staged"],
        sqlite_where=sa.text("staged IS NOT NULL"),
        postgresql_where=sa.text("staged IS NOT NULL"),
    )


def downgrade() -> None:
    for table in ("record", "manifest", "entry", "head", "log_head", "log"):
        op.drop_table(table)
