"""When a key was last reset.

Only adds. A process of the release before goes on working, and what it resets keeps the time of before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("reset_at", sa.BigInteger))
