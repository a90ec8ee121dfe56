"""The schema, once, for SQLite and PostgreSQL alike; `migrations/` builds it step by step, and a test holds the two together.

Times are Unix milliseconds. `accounts.epoch` is the policy epoch; `raised_epoch` is the highest one that is known to be in force.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

# One row: raised by every change of `models` that matters to admission, so that a principal can say how new a catalogue it needs.
catalogue = sa.Table(
    "catalogue",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.BigInteger, nullable=False),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("raised_epoch", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
sa.Index(
    "uq_accounts_default",
    accounts.c.is_default,
    unique=True,
    sqlite_where=accounts.c.is_default,
    postgresql_where=accounts.c.is_default,
)

workspaces = sa.Table(
    "workspaces",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)
sa.Index(
    "uq_workspaces_default",
    workspaces.c.account_id,
    unique=True,
    sqlite_where=workspaces.c.is_default,
    postgresql_where=workspaces.c.is_default,
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), nullable=False, index=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("masked", sa.String(40), nullable=False),
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("description", sa.String(200), nullable=False),
    sa.Column("models", sa.JSON(none_as_null=True)),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_used_at", sa.BigInteger),
    sa.Column("reset_at", sa.BigInteger),
)

grants = sa.Table(
    "grants",
    metadata,
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), primary_key=True),
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("rpm", sa.BigInteger),
    sa.Column("tpm", sa.BigInteger),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

account_limits = sa.Table(
    "account_limits",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("rpm", sa.BigInteger),
    sa.Column("tpm", sa.BigInteger),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("type", sa.String(32)),
    sa.Column("vendor", sa.String(120)),
    sa.Column("rpm", sa.BigInteger),
    sa.Column("tpm", sa.BigInteger),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

upstreams = sa.Table(
    "upstreams",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("base_url", sa.String(2000), nullable=False),
    sa.Column("api_key", sa.Text),
    sa.Column("models", sa.JSON, nullable=False),
    sa.Column("lists_models", sa.Boolean, nullable=False),
    sa.Column("weight", sa.Integer, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

ledger = sa.Table(
    "ledger",
    metadata,
    sa.Column("call_id", sa.String(36), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("account_id", sa.String(40), nullable=False),
    sa.Column("workspace_id", sa.String(40), nullable=False),
    sa.Column("key_id", sa.String(40), nullable=False),
    sa.Column("endpoint", sa.String(40), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("deployment", sa.String(255), nullable=False),
    sa.Column("stream", sa.Boolean, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("outcome", sa.String(20), nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("estimated", sa.Boolean, nullable=False),
    sa.Column("billing", sa.String(16), nullable=False),
    sa.Column("ttft_ms", sa.BigInteger),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Index("ix_ledger_account_id_at", "account_id", "at"),
    sa.Index("ix_ledger_workspace_id_at", "workspace_id", "at"),
)

# An account's limits for a while. One counts from `created_at` until `ended_at` is set, which a sweep does soon after `ends_at`,
# or somebody (`ended_by`) before; the rows stay as the history. What is null stays as it is without; `base_…` held before it.
limit_increases = sa.Table(
    "limit_increases",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("model", sa.String(255), nullable=False),
    sa.Column("rpm", sa.BigInteger),
    sa.Column("tpm", sa.BigInteger),
    sa.Column("base_rpm", sa.BigInteger),
    sa.Column("base_tpm", sa.BigInteger),
    sa.Column("reason", sa.String(200), nullable=False),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("ends_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("ended_by", sa.String(120)),
    sa.Index("ix_limit_increases_account_id", "account_id"),
)
# At most one at a time for each model of an account; and the sweep looks here alone.
sa.Index(
    "uq_limit_increases_open",
    limit_increases.c.account_id,
    limit_increases.c.model,
    unique=True,
    sqlite_where=limit_increases.c.ended_at.is_(None),
    postgresql_where=limit_increases.c.ended_at.is_(None),
)

# People who sign in. `email` is in lower case; without `password` nobody can sign in yet.
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("email", sa.String(120), nullable=False, unique=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("password", sa.String(200)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("last_sign_in_at", sa.BigInteger),
)

# Who may do what where. `scope` is empty for the whole installation, else the ID of an account or of a workspace; the two IDs
# say the same for queries.
members = sa.Table(
    "members",
    metadata,
    sa.Column("user_id", sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("scope", sa.String(40), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), index=True),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id"), index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

# One-time links, by the digest of what stands in them: `invite`, `reset`.
links = sa.Table(
    "links",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("user_id", sa.ForeignKey("users.id"), index=True),
    sa.Column("email", sa.String(120), nullable=False),
    sa.Column("role", sa.String(16)),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), index=True),
    sa.Column("workspace_id", sa.ForeignKey("workspaces.id")),
    sa.Column("created_by", sa.String(120), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("user_id", sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("seen_at", sa.BigInteger, nullable=False),
    sa.Column("client", sa.String(64)),
    sa.Column("agent", sa.String(200)),
)

# Failed attempts to sign in, by what they are counted for (a digest); `failures` since the last success.
throttles = sa.Table(
    "throttles",
    metadata,
    sa.Column("name", sa.String(80), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
)

# What an Idempotency-Key has made, by the digest of the key and of who sent it.
idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("request", sa.LargeBinary(32), nullable=False),
    sa.Column("target", sa.String(40), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
)

# Sums over the rows of `ledger`, those that retention has deleted included; `hour` is its start.
usage_hours = sa.Table(
    "usage_hours",
    metadata,
    sa.Column("hour", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.String(40), primary_key=True),
    sa.Column("workspace_id", sa.String(40), primary_key=True),
    sa.Column("key_id", sa.String(40), primary_key=True),
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("estimated_calls", sa.BigInteger, nullable=False),
    sa.Column("timed_calls", sa.BigInteger, nullable=False),
    sa.Column("ttft_ms", sa.BigInteger, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Index("ix_usage_hours_account_id_hour", "account_id", "hour"),
    sa.Index("ix_usage_hours_workspace_id_hour", "workspace_id", "hour"),
)

# The same by day (UTC); `day` is its start.
usage_days = sa.Table(
    "usage_days",
    metadata,
    sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.String(40), primary_key=True),
    sa.Column("workspace_id", sa.String(40), primary_key=True),
    sa.Column("key_id", sa.String(40), primary_key=True),
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("failures", sa.BigInteger, nullable=False),
    sa.Column("input_tokens", sa.BigInteger, nullable=False),
    sa.Column("output_tokens", sa.BigInteger, nullable=False),
    sa.Column("cached_tokens", sa.BigInteger, nullable=False),
    sa.Column("estimated_calls", sa.BigInteger, nullable=False),
    sa.Column("timed_calls", sa.BigInteger, nullable=False),
    sa.Column("ttft_ms", sa.BigInteger, nullable=False),
    sa.Column("duration_ms", sa.BigInteger, nullable=False),
    sa.Index("ix_usage_days_account_id_day", "account_id", "day"),
    sa.Index("ix_usage_days_workspace_id_day", "workspace_id", "day"),
)

# Calls that were refused, which the ledger has no rows of: sums over spans of a minute (kept for about a day) and of an hour
# (kept), both in milliseconds; `at` is the start of the span, `code` the cause as `domain.causes` writes it.
refusals = sa.Table(
    "refusals",
    metadata,
    sa.Column("span", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.String(40), primary_key=True),
    sa.Column("workspace_id", sa.String(40), primary_key=True),
    sa.Column("key_id", sa.String(40), primary_key=True),
    sa.Column("model", sa.String(255), primary_key=True),
    sa.Column("code", sa.String(40), primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Index("ix_refusals_account_id_at", "account_id", "span", "at"),
    sa.Index("ix_refusals_workspace_id_at", "workspace_id", "span", "at"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False, index=True),
    sa.Column("actor", sa.String(120), nullable=False),
    sa.Column("action", sa.String(60), nullable=False),
    sa.Column("target", sa.String(300), nullable=False, index=True),
    sa.Column("account_id", sa.String(40), index=True),
    sa.Column("workspace_id", sa.String(40), index=True),
    sa.Column("before", sa.JSON(none_as_null=True)),
    sa.Column("after", sa.JSON(none_as_null=True)),
    sa.Column("client", sa.String(64)),
)
