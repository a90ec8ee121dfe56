"""The way to the model servers: which there are, which of them is well, and one HTTP call to one of them.

Architecture. `Directory` holds every upstream, the fixed ones of the settings and those of the database, and turns them into one
immutable mapping from public model names to deployments. `Health` ejects upstreams that fail and probes them again. `Listings`
reads what upstreams with `*` list themselves. `Catalogue` joins the stored models with those that are served. `HttpClient` is the
only module here that speaks HTTP; `UpstreamPool` puts directory and client behind the data plane's port. `Coalesced` is the one
pattern they share: many callers, one read, and nobody joins a read that had been sent before they asked.

Algorithm of a call:

1. `choose` looks the model up, leaves out what was tried and what is ejected, and draws one deployment by weight.
2. `send` adds the upstream's own credential and waits for the reply's head: a deadline for connecting, one for sending and the
   first byte, one for each silence in the body.
3. `report` counts: some failures in a row eject the upstream for a time that doubles from one to sixty seconds. When it is over,
   one call is let through as a probe; its success lets the upstream back in, its failure ejects it for longer.

Concurrency. Everything runs on one event loop. Look-ups and choices never wait; mappings are replaced, never changed. A reply
owns its connection and gives it back or breaks it exactly once, also when the task that reads it is cancelled.

When something is down:

- an upstream refuses, breaks or stalls: `UpstreamFault` or `UpstreamTimedOut`, which say whether the request may have been acted
  on; the caller may try another deployment. All deployments ejected: `choose` answers None until a probe is due.
- an upstream does not list its models: its last list stays. One that never listed any serves its explicit names only.
- the database: `Directory.reload` and the catalogue's reads raise `KeyStoreUnavailable`, and what was known stays in use;
  `Catalogue.at_least` raises it too, so that nobody is held to a catalogue older than their principal.
"""
