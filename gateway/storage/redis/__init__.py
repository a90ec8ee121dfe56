"""Limits, epochs and the ledger's streams in Redis, shared by all processes of a gateway (admission.md)."""
