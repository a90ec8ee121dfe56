"""The record of metered calls."""

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row of the ledger: one call that was admitted. Never prompts or completions.

    Times in milliseconds; `at` is Unix time at the start. `outcome` is `ok`, `upstream_error`, `upstream_broke`, `client_gone`,
    `key_cut`, `gateway_stopped` or `internal_error`.
    """

    call_id: str
    at: int
    account_id: str
    workspace_id: str
    key_id: str
    endpoint: str
    model: str
    deployment: str
    stream: bool
    status: int
    outcome: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    estimated: bool
    billing: str
    ttft_ms: int | None
    duration_ms: int
