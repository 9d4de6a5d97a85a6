"""The data behind Aurora's clusters: real servers, real copies, and what happened in between.

`programs` runs PostgreSQL's programs so that none outlives this process. A `Database` is one
cluster's data, with or without a server. Its `History` is base backups and archived WAL. All of
them together are `Databases`; a reset empties it.

    servers/databases/<n>/        removed as a whole by a reset
        <name>-<k>/data           of a restored cluster
        <name>-<k>/wal, base-…    a cluster's history
        snapshot-<k>

Nothing here knows of moto, nor waits while it holds the lock that requests hold.
Source: https://www.postgresql.org/docs/current/continuous-archiving.html
"""
