"""The data plane that calls go through: the real parts over fakes in memory, with a key that is held to four limits."""

from gateway.domain.admission import Ask, Decision, claims_of
from gateway.domain.buckets import Level
from gateway.domain.grants import Limits
from tests.dataplane.world import ACCOUNT, MODEL, World

ENOUGH = Limits(rpm=100_000_000, tpm=100_000_000)
WORKSPACE, TOKENS = "llm-2", 31
CLAIMS = (
    *claims_of(Level.WORKSPACE, WORKSPACE, MODEL, ENOUGH, TOKENS),
    *claims_of(Level.ACCOUNT, ACCOUNT, MODEL, ENOUGH, TOKENS),
)
"""What a call asks for: requests and tokens a minute, of its workspace and of its account."""


class Limited(World):
    """`key` is one of a sub-workspace, with limits on both levels, which are counted and never met."""

    def __init__(self, limits: Limits = ENOUGH) -> None:
        super().__init__(most_body=1 << 30, most_bodies=1 << 40)
        self.key = self.add_key(
            "ak-2",
            workspace_id=WORKSPACE,
            is_default=False,
            grants={MODEL: limits},
            account_limits={MODEL: ENOUGH},
        )


def ask(number: int) -> Ask:
    return Ask(f"call-{number}", ACCOUNT, 1, claims=CLAIMS)


async def admitted() -> Decision:
    """The decision on a call that has four gauges."""
    decision = await Limited().admissions.admit(ask(0))
    assert len(decision.gauges) == 4
    return decision
