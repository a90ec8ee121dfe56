"""The database: accounts, keys, grants, the ledger; SQLite or PostgreSQL, with one set of statements.

`engine` holds transactions and says what counts as a database that is away; `tables` is the schema, which `migrate` brings about.
The data plane reads through `principals` and `models`, one statement each, and writes through `ledger`, behind its calls. The
control plane changes policy through `policy`, which ties each change to an epoch, with one module of statements a resource.

A database that is away is `StorageUnavailable` to writers and `KeyStoreUnavailable` to readers; the ledger keeps its entries and
tries again.
"""
