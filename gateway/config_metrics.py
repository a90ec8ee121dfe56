"""The settings of metrics: a table of gateway.toml, as those of `config_schema`."""

from pydantic import BaseModel, ConfigDict

from gateway.config_values import Credential, File, Networks, Whole, file, networks, secret, whole


class MetricsTable(BaseModel):
    """Who may read `/metrics`, and how much it names."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    allow_networks: Networks = networks(
        "Networks that may read `/metrics` without a token, besides this machine itself. What comes through a proxy counts by "
        "whom `server.trusted_proxies` say it was asked for, and without one of those never."
    )
    token: Credential | None = secret(
        "The bearer token that opens `/metrics` from anywhere.", expects="a long random text without blanks"
    )
    token_file: File | None = file("A file with that token, instead of `token`.")
    top: Whole = whole(
        10, "How many workspaces, keys and buckets metrics name; the rest is `other`. 0 names none.", least=0, most=100
    )
