"""Every number of the protocol that a simulation may want to turn, in one frozen place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manifest import Runtime

FRAME_BYTES_MAX = 66 * 1024
"""One 64 KiB piece with its Merkle proof and header; far below the 256 KiB every WebRTC stack accepts."""

PROTOCOL_VERSION = 1


@dataclass(frozen=True, slots=True)
class ProtocolConfig:
    """Fixed for the life of a peer. Defaults are for a network of native nodes and browsers on the internet."""

    network: str = "main"
    """Name of the network: peers of different networks never talk."""

    agent: str = "crowdcompute"
    """Software name and version told to neighbours, for the log only."""

    steward: bool = False
    """Whether we act for an absent creator that asks us to (spec/stewards.md)."""
    epoch_offset_s: float = 0.0
    """Unix time minus the driver's monotonic clock, measured once when the peer is made."""

    ping_after_s: float = 1.0
    """Silence after which we ping. Any frame counts as life (DESIGN section 4, "Liveness")."""

    suspect_after_s: float = 3.0
    """Silence after which a peer's leases may be re-run: leaves the length of a batch of the 5 s goal, so that the
    re-run begins within it though everybody is busy (tests/simulations/test_liveness.py)."""

    gone_after_s: float = 10.0
    """Silence after which the link is closed. A channel's own state proves nothing (research/webrtc.md section 7)."""

    hello_within_s: float = 10.0
    """A link on which nobody says hello in this time is closed."""

    neighbours_target: int = 8
    """Links we dial for. Gossip needs 6 to 8 (research/verification.md section 4.1)."""

    neighbours_max: int = 32
    """Links we hold. Further ones are closed at once."""

    redial_after_s: float = 5.0
    """Pause before a peer that could not be reached is dialled again; doubles each time up to a minute."""

    mesh_low: int = 4
    mesh_target: int = 6
    mesh_high: int = 12
    """Mesh degree per topic, as gossipsub v1.1 recommends."""

    heartbeat_s: float = 1.0
    """Mesh upkeep and ihave gossip, as gossipsub v1.1."""

    ihave_window_s: float = 5.0
    """Records younger than this are announced to non-mesh neighbours at a heartbeat (gossipsub keeps 5 heartbeats)."""

    gossip_gap_s: float = 0.0
    """Pause between two pushes of records to neighbours: what comes meanwhile shares their frames. Nothing waits that
    comes alone. Large networks save most of their frames with a second (simulations/scenarios/liars.toml)."""

    prune_backoff_s: float = 60.0
    """After a prune, no graft to that peer for this time (gossipsub v1.1)."""

    link_bytes_per_s: float = 8e6
    link_bytes_burst: float = 32e6
    """Token bucket per neighbour over control bytes. A guess: ten times what the busiest simulated shard sends."""

    score_floor: float = -40.0
    """A neighbour below this score is disconnected: four protocol errors, each -10."""

    seek_every_s: float = 20.0
    """While links are lacking, somebody is asked for peers this often: newcomers are named those that were there
    before them, and asking again finds those that came later."""

    visit_every_s: float = 60.0
    """A peer that lacks no links dials one more this often, so that the halves of a healed partition meet again:
    among 20 peers within seconds, and a link lasts a minute (simulations/scenarios/halves.toml)."""

    strangers_every_s: float = 300.0
    """A peer that lacks no links asks the signaling server for others this often: it may have forgotten, or never
    have heard of, whoever was cut off for long. A guess: ten thousand peers ask 33 times a second."""

    introductions_per_s: float = 20.0
    introductions_burst: float = 200.0
    """Token bucket per link and direction over requests for peers and signals to pass on: the signaling server's."""

    slots: int = 1
    """Jobs executed at the same time: the driver's worker processes."""

    work: bool = True
    """Whether this peer executes chunks of other people's tasks."""

    runtimes: frozenset[Runtime] = frozenset({"wasm", "js", "gpu"})
    """What this peer can and may execute; tasks of another runtime are passed on and not worked on. `net`, fetching, is
    for drivers that can, and whose person allows it."""

    vouchers: frozenset[bytes] = frozenset()
    """Public keys of those whose word makes a creator a verified one. Only such creators' tasks are fetched for."""

    accept_creators: frozenset[bytes] | None = None
    """Public keys of the creators we work for; None means everybody."""

    memory_bytes_max: int = 1 << 30
    seconds_max: float = 3_600.0
    """Limits above which a task is not taken."""

    blob_bytes_max: int = 1 << 30
    """Inputs above this size are not fetched: a task that needs them is not taken."""

    pow_bits_max: int = 20
    """A join that wants more proof of work than this (about a second) is not worth it."""

    batch_s: float = 1.0
    """A batch of chunks is sized to take about this long: the cost of a lease and a commit is paid per batch, and half
    of one is lost with a machine that dies (simulations/scenarios/replaced.toml)."""

    lease_ttl_s: int = 15
    """Leases are renewed at half of this while the work runs."""

    say_backlog_within_s: float = 1.0
    """An assignment that waits behind running work is leased this soon after it came, together with others."""

    guest_after_s: float = 0.5
    """A worker that was not admitted by then works as a guest: the creator is away, cut off, or admits slowly. Nothing
    of it is lost, and machines may live for seconds (simulations/scenarios/replaced.toml)."""

    settle_s: float = 1.0
    """After following a shard, wait at most this long for its records before picking: picks made blindly repeat
    others' work."""

    creator_first_s: float = 3.0
    """Where few chunks are left an idle worker waits this long for the creator to deal them out, then picks itself."""

    endgame_after_s: float = 1.0
    """A leased chunk is re-run on an idle worker when its lease is at least this old, and older than usual."""

    inline_result_bytes: int = 4_096
    """Results up to this size travel inside the sealed batch (DESIGN section 6)."""

    custodians: int = 3
    """Peers that are asked to keep a large result besides its maker (DESIGN section 6)."""

    custody_after_s: float = 10.0
    """A creator that is there takes a result within this time, mostly. What it has not taken by then is given to
    custodians, or at once when nothing was heard of it for as long. A guess."""

    custody_bytes: int = 128 * 1024 * 1024
    """Results of others that we keep in memory, half of them of one task at most."""

    handover_every_s: float = 30.0
    """Others are asked to keep a chunk's savepoint this often: what a worker takes with it that leaves for good."""

    credit_every_s: float = 30.0
    """A worker fetches tables of credit that are too large for a checkpoint this often."""

    checkpoint_s: float = 2.0
    """A shard whose accepted set changed gets a new checkpoint at most this often."""

    admit_per_minute: int = 600
    """Workers a creator admits per minute: bounds how fast identities can be made (research section 1.6)."""

    active_s: float = 15.0
    """A worker heard from within this time may be assigned work: a lease, busy or idle, comes every 7.5 s."""

    accept_assignment_s: float = 5.0
    """An assignment that no lease of its worker names by then goes to somebody else."""

    assignment_max_s: float = 60.0
    """However often leased, an assignment not committed in this time plus the task's own limit is given away."""

    referee_after_s: float = 10.0
    """A chunk that lacks votes and finds no eligible worker for this long is executed by the creator's own node."""

    blob_neighbours: int = 16
    """Links we dial for while we fetch a large blob: 8 take half as long again where uploads differ (research section
    4.3)."""

    blob_window: int = 16
    """Pieces asked of one neighbour at a time: 1 MiB in flight at most."""

    upload_bytes_per_s: float | None = None
    """Pieces are sent no faster than this, to all neighbours together; None: as fast as links take them."""

    blob_whole_bytes: int = 8 * 1024 * 1024
    """Inputs up to this size are fetched before a task begins; of larger ones what each batch reads, where the split
    tells (`lines` do not). A guess: a minute at 1 Mbit/s."""

    creator_bytes_max: int = 5 << 28
    """Code and inputs of one creator's open tasks that we take; beyond it, its further tasks are left to others."""

    blob_timeout_s: float = 8.0
    """A piece not come in this time is asked of somebody else."""
