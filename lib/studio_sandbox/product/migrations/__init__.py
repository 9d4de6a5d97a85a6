"""The product's migrations: a folder for each release that brought some, each plain SQL."""
