"""The checkpoint that the world sees, the same from every process of a center."""

import sqlalchemy as sa
from alembic import op

revision = "center_0002"
down_revision = "center_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "published",
        sa.Column("log", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("second", sa.BigInteger(), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("log", name="pk_published"),
        sa.ForeignKeyConstraint(["log"], ["log.id"], name="fk_published_log_log"),
    )


def downgrade() -> None:
    op.drop_table("published")
