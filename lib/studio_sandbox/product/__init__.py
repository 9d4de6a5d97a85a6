"""What is in the product's images, as far as a task of its own can be asked to run it.

`migrate` is `alembic` in the product's folder; `sync_usage_to_db` is the script of that name. Each
runs as a process, with the environment of its task and nothing else.
"""
