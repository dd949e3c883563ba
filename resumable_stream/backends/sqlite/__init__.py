"""The embedded log: one SQLite file, for all processes of one host. Needs no service, no account and no migration.

How it works:

- ``writer``: one thread of each process takes all appends that wait, puts them into one transaction and commits it, so
  that one flush to the disk serves every stream that has something to say.
- ``reader``: a few threads read, on connections of their own; WAL mode keeps them out of the writer's way.
- ``watcher``: while somebody follows, one thread looks fifty times a second whether another process has committed.
- ``file``: opening, the schema, and what SQLite's errors mean to people.
- ``backup``, ``restoring`` and ``lineage``: copies of the file, their way back, and WAL files that are not its own.
"""

from .backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
