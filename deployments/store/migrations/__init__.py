"""How the tables came to be, a file a step; alembic applies those that a database lacks."""
