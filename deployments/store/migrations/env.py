"""Alembic's entry: the steps run over the one connection that ``database.migrated`` hands in."""

from alembic import context

from deployments.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
