"""The index: which entry speaks of which record."""

import sqlalchemy as sa
from alembic import op

revision = "index_0001"
down_revision = None
branch_labels = ("index",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "cursor",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("log", name="pk_cursor"),
    )
    op.create_table(
        "commitment",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "log", "entry_index", name="pk_commitment"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "governance_subject",
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("entry_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "subject", "log", "entry_index", name="pk_governance_subject"
        ),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("governance_subject")
    op.drop_table("commitment")
    op.drop_table("cursor")
