"""What the protocol of the policy epochs demands, each demand with a switch, and how large a history the model looks at."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the protocol demands; the numbers are those of "Epochs" in the protocol. Each can be taken out."""

    # 1: changes
    raise_after_commit: bool = True  # commit, then raise
    acknowledge_after_raise: bool = True  # raise, then answer
    raise_takes_the_highest: bool = True  # max, never set
    unraised_is_not_acknowledged: bool = True  # Redis cannot be reached: 503, not an acknowledgement
    repeat_raises: bool = True  # a repeated change that finds its work done raises again all the same
    sweeper_runs: bool = True
    mark_what_was_raised: bool = True  # not whatever epoch the database has by then
    # 2: reads
    one_statement: bool = True  # policy and epoch are of one snapshot
    primary: bool = True  # that of the primary, not of a replica that lags
    join_unsent_reads_only: bool = True
    # 3, 4: every call is compared, refusals too
    calls_are_compared: bool = True
    refusals_are_compared: bool = True
    # 5: loss
    missing_is_stale: bool = True  # no epoch is stored: nothing passes, and nothing is installed without a nonce
    identity_is_compared: bool = True  # N@R, not N
    identity_is_the_servers: bool = True  # the script knows its server's identity; else a connection's handshake learns it
    identity_per_promotion: bool = True  # a promotion makes a new one; else a server keeps its run ID
    raise_installs_over_nothing: bool = False  # where no epoch is stored, it leaves that so
    raise_installs_over_foreign: bool = False  # where another R is stored, it deletes
    raise_installs_over_placeholder: bool = False  # where a placeholder is stored, it deletes
    raise_leaves_placeholder: bool = False
    read_after_nonce: bool = True  # what is installed was read after the nonce was learnt
    install_by_nonce: bool = True  # compare-and-set on the nonce, not on "some placeholder"
    placeholder_has_identity: bool = True  # a placeholder of another R is none
    newer_epoch: str = "install"  # sent N above the stored one, same R: "install" it, "placeholder", or "stale" and no more
    # 6: replicas
    hold_acknowledgements: bool = True  # for L after a new identity is seen
    settle_on_database: bool = True  # for L after a new identity is seen epochs are compared with the database
    raise_waits_for_replicas: bool = False  # WAIT for the replicas before a raise counts
    fenced_within_l: bool = True  # min-replicas-to-write: within L a replaced master refuses to write, and so to admit
    # Redis cannot be reached
    local_reads_database: bool = True


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How large a history may become. `faults` of the named kinds in all: flush, empty, aof, failover, unreachable."""

    processes: int = 1
    changes: int = 1
    faults: int = 1
    kinds: frozenset[str] = frozenset()
    starts_enabled: bool = True
    calls: bool = True
    timeouts: bool = True  # admissions time out, and may be decided later
    sweeper: bool = False  # the sweeper's own steps (its raises come in any case)
    sort_processes: bool = True  # two states that differ in which process is which are one; a trace then mixes their names

    def enabled(self, epoch: int) -> bool:
        """Whether the key is alive under the policy of `epoch`; each change turns it over."""
        return (epoch % 2 == 0) == self.starts_enabled

    @property
    def copies(self) -> bool:
        return "aof" in self.kinds or "failover" in self.kinds
