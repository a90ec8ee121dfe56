"""Hourly roll-ups of the ledger.

Only adds. Rows of the ledger that are there by now are rolled up here. What a process of the release before goes on to record
afterwards is in the ledger but in no roll-up, so usage would not count it: stop such processes first.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEYS = ("hour", "account_id", "workspace_id", "key_id", "model")
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
    op.create_table(
        "usage_hours",
        sa.Column("hour", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("account_id", sa.String(40), nullable=False),
        sa.Column("workspace_id", sa.String(40), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint(*_KEYS, name="pk_usage_hours"),
    )
    op.create_index("ix_usage_hours_account_id_hour", "usage_hours", ["account_id", "hour"])
    op.create_index("ix_usage_hours_workspace_id_hour", "usage_hours", ["workspace_id", "hour"])
    op.execute(
        """
        INSERT INTO usage_hours (
            hour, account_id, workspace_id, key_id, model, calls, failures, input_tokens, output_tokens, cached_tokens,
            estimated_calls, timed_calls, ttft_ms, duration_ms
        )
        SELECT
            at - at % 3600000, account_id, workspace_id, key_id, model, count(*),
            sum(CASE WHEN outcome <> 'ok' THEN 1 ELSE 0 END), sum(input_tokens), sum(output_tokens), sum(cached_tokens),
            sum(CASE WHEN estimated THEN 1 ELSE 0 END), count(ttft_ms), coalesce(sum(ttft_ms), 0), sum(duration_ms)
        FROM ledger
        GROUP BY at - at % 3600000, account_id, workspace_id, key_id, model
        """
    )
