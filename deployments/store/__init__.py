"""The only way to the database: its tables, its migrations, and what is asked of it by name."""
