"""People who sign in, and what the console shows: temporary limits, refused calls, usage by day.

Only adds. A process of the release before goes on working, and what it records is in no sum by day: stop such processes first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_DAY_KEYS = ("day", "account_id", "workspace_id", "key_id", "model")
_SUMS = (
    "calls",
    "failures",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
    "estimated_calls",
    "timed_calls",
    "ttft_ms",
    "duration_ms",
)


def upgrade() -> None:
    _people()
    _access()
    _increases()
    _usage_days()
    _refusals()
    op.add_column("audit", sa.Column("workspace_id", sa.String(40)))
    op.create_index("ix_audit_workspace_id", "audit", ["workspace_id"])


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("email", sa.String(120), nullable=False),
        sa.Column("name", sa.String(120), nullable=False),
        sa.Column("password", sa.String(200)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_sign_in_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "members",
        sa.Column("user_id", sa.String(40), nullable=False),
        sa.Column("scope", sa.String(40), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("account_id", sa.String(40)),
        sa.Column("workspace_id", sa.String(40)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("user_id", "scope", name="pk_members"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_members_user_id"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_members_account_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_members_workspace_id"),
    )
    op.create_index("ix_members_account_id", "members", ["account_id"])
    op.create_index("ix_members_workspace_id", "members", ["workspace_id"])
    op.create_table(
        "links",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("user_id", sa.String(40)),
        sa.Column("email", sa.String(120), nullable=False),
        sa.Column("role", sa.String(16)),
        sa.Column("account_id", sa.String(40)),
        sa.Column("workspace_id", sa.String(40)),
        sa.Column("created_by", sa.String(120), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_links"),
        sa.UniqueConstraint("digest", name="uq_links_digest"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_links_user_id"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_links_account_id"),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"], name="fk_links_workspace_id"),
    )
    op.create_index("ix_links_user_id", "links", ["user_id"])
    op.create_index("ix_links_account_id", "links", ["account_id"])


def _access() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("user_id", sa.String(40), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("client", sa.String(64)),
        sa.Column("agent", sa.String(200)),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.UniqueConstraint("digest", name="uq_sessions_digest"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sessions_user_id"),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id"])
    op.create_table(
        "throttles",
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_throttles"),
    )
    op.create_index("ix_throttles_at", "throttles", ["at"])
    op.create_table(
        "idempotency",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("request", sa.LargeBinary(32), nullable=False),
        sa.Column("target", sa.String(40), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_at", "idempotency", ["at"])


def _increases() -> None:
    op.create_table(
        "limit_increases",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("account_id", sa.String(40), nullable=False),
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
        sa.PrimaryKeyConstraint("id", name="pk_limit_increases"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_limit_increases_account_id"),
    )
    op.create_index("ix_limit_increases_account_id", "limit_increases", ["account_id"])
    unended = sa.column("ended_at").is_(None)
    op.create_index(
        "uq_limit_increases_open",
        "limit_increases",
        ["account_id", "model"],
        unique=True,
        sqlite_where=unended,
        postgresql_where=unended,
    )


def _usage_days() -> None:
    op.create_table(
        "usage_days",
        sa.Column("day", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("workspace_id", sa.String(40), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint(*_DAY_KEYS, name="pk_usage_days"),
    )
    op.create_index("ix_usage_days_account_id_day", "usage_days", ["account_id", "day"])
    op.create_index("ix_usage_days_workspace_id_day", "usage_days", ["workspace_id", "day"])
    op.execute(
        """
        INSERT INTO usage_days (
            day, account_id, workspace_id, key_id, model, calls, failures, input_tokens, output_tokens, cached_tokens,
            estimated_calls, timed_calls, ttft_ms, duration_ms
        )
        SELECT
            hour - hour % 86400000, account_id, workspace_id, key_id, model, sum(calls), sum(failures), sum(input_tokens),
            sum(output_tokens), sum(cached_tokens), sum(estimated_calls), sum(timed_calls), sum(ttft_ms), sum(duration_ms)
        FROM usage_hours
        GROUP BY hour - hour % 86400000, account_id, workspace_id, key_id, model
        """
    )


def _refusals() -> None:
    op.create_table(
        "refusals",
        sa.Column("span", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("workspace_id", sa.String(40), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("code", sa.String(40), nullable=False),
        sa.Column("calls", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("span", "at", "account_id", "workspace_id", "key_id", "model", "code", name="pk_refusals"),
    )
    op.create_index("ix_refusals_account_id_at", "refusals", ["account_id", "span", "at"])
    op.create_index("ix_refusals_workspace_id_at", "refusals", ["workspace_id", "span", "at"])
