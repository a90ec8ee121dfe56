"""How the gateway talks to Redis, single, behind Sentinel or as a Cluster: many items in one script call, within a deadline.

From the top down:

- `store` is what admission uses: `ask` and `ride` take an item of an account and give a future.
- `single` and `cluster` know which node has an account: one server, the master that sentinels name, or the masters of a Cluster.
- `node` is one place to ask: it keeps a connection up, sends what waits in its `queue` in batches (at the end of a turn of the
  event loop, at most 4 under way, at most 64 items each), gives up on what takes too long, and asks its `breaker` whether asking
  is worth it. A sick node touches only its accounts.
- `batches` makes script calls of items and answers of a reply; `refusals` says what an error reply means.
- `link` is one connection: calls out, answers back in the same order. Each call carries the run ID of the very server that the
  link talks to, so that a restarted or promoted server is told from the one that wrote an epoch.
- `wire` is what is taken from redis-py: opening and greeting a connection, whose transport a link then takes over.
- `address` reads the URL, and makes the general-purpose client for everything that is not admission.

What fails, fails as LimitsUnavailable, at once or within the deadline; that a script ran is unknown then, so items are made to be
repeated. Nothing here knows what an item means.
"""
