"""Alembic's entry: runs one branch (center or index) on a given connection."""

from alembic import context

from trace_node.store.tables import CenterTable, IndexTable

branch = context.config.attributes["branch"]
connection = context.config.attributes["connection"]
base = {"center": CenterTable, "index": IndexTable}[branch]

context.configure(
    connection=connection,
    target_metadata=base.metadata,
    version_table=f"alembic_version_{branch}",
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
