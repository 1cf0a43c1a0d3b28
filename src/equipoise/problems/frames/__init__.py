"""A user's table: read, its columns found and checked, its labels prepared."""
