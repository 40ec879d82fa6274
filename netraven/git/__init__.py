"""The git repository that people love: written from the database, pushed, and read where they have one already."""
