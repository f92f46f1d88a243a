"""A scenario: what a simulated network looks like, as a person writes it in TOML.

Every table is a typed struct; a key nobody knows is refused with a sentence, because a misspelt fault that never
happens would make a test that always passes.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from crowdcompute.protocol.config import ProtocolConfig

from .liars.registry import KINDS

if TYPE_CHECKING:
    from pathlib import Path

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
EPOCH_S = 1_800_000_000.0
"""Unix time at virtual second 0."""


class ScenarioError(Exception):
    """The scenario is refused. The message is one sentence that says what to change."""


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of a scenario's tables."""


class Network(Table, frozen=True):
    """Links and machines. The creator is one more node than `peers`."""

    peers: Positive
    latency_s: tuple[Seconds, Seconds] = (0.01, 0.1)
    """One way, uniform between these, drawn once per link: a continent, by home connections."""
    loss: Share = 0.0
    """Links are reliable and ordered, so a lost frame is a late one: retransmitted after `retransmit_s`."""
    retransmit_s: Seconds = 0.3
    upload_bytes_per_s: Annotated[float, Meta(gt=0)] = 1.25e6
    dial_s: Seconds = 0.5
    """From a dial to an open link: offer, answer and DTLS."""
    introductions: Positive = 40
    """Peers the rendezvous names to a node at a time."""
    signaling_until_s: Seconds = math.inf
    """When the rendezvous dies: from then on only peers introduce peers."""
    join_within_s: Seconds = 1.0
    """Nodes start at a random moment of this span."""
    speed_sigma: Seconds = 0.6
    """Speeds are lognormal with median 1 (research: verification section 3.5)."""
    real_keys: bool = False
    """Ed25519 instead of keyed hashes: ten times slower, for small networks."""


class Task(Table, frozen=True):
    chunks: Positive
    replication: Annotated[int, Meta(ge=1, le=3)] = 2
    eps: Annotated[float, Meta(gt=0, lt=1)] = 1e-3
    liars: Annotated[float, Meta(ge=0, le=0.5)] = 0.2
    chunk_s: Annotated[float, Meta(gt=0)] = 1.0
    """Mean time of one chunk on a machine of speed 1."""
    chunk_sigma: Seconds = 0.2
    savepoint_s: Seconds = 0.0
    """A chunk writes a savepoint after each of these, in the time of a machine of speed 1; 0: none."""
    result_bytes: Annotated[int, Meta(ge=8)] = 32
    tolerance: Share = 0.0
    """Of results that are floats, which each node computes a little differently: by up to half of it. 0: are bytes."""
    classes: Count = 0
    """Of devices that compute the same floats; the creator is in that of modules. 0: results are not compared so."""
    code_bytes: Positive = 2_000
    epoch_s: Count = 0
    """Length of an epoch, for a task that goes on being verified without its creator; 0 for one without epochs."""
    limit_s: Annotated[float, Meta(gt=0, le=3_600)] = 60.0
    failing: tuple[int, ...] = ()
    """Chunks of which nobody gets a result."""


class LiarGroup(Table, frozen=True):
    """Some of the peers, drawn at random, that do not do what they should, and know each other."""

    kind: str
    """A plug-in by its name (liars/registry.py)."""
    share: Share = 0.0
    count: Count = 0
    rate: Share = 0.1
    """Of kinds `rate` and `flaky`: the share of chunks it lies about, or errs on."""
    after: Count = 10
    """Of kind `sleeper`: chunks it computes honestly first."""
    after_s: Seconds = 5.0
    """Of kind `whitewasher`: how long a new identity takes it."""
    arrive_s: Seconds = 0.0
    """Its members join together at this time: a flood."""
    speed: Annotated[float, Meta(gt=0)] = 1.0
    """Factor on its members' speeds: many identities on one machine are slow ones."""


FaultKind = Literal["crash", "silence", "partition", "churn", "replace", "creator-crash", "eclipse", "delegate"]


class Fault(Table, frozen=True):
    """Something that goes wrong at a time (faults.py)."""

    kind: FaultKind
    at_s: Seconds
    for_s: Annotated[float, Meta(gt=0)]
    share: Share = 0.0
    count: Count = 0
    keep_state: bool = True
    """Whether what `SaveRecords` saved is there after the crash."""
    every_s: Annotated[float, Meta(gt=0)] = 10.0
    """Of kind `churn`: one crash in this time, on average, until `at_s + for_s`; half of them lose their state.
    Of kind `replace`: a `share` of the volunteers is replaced by strangers each time, one of them stopped before."""
    trusted: bool = False
    """Of kind `delegate`: whether the creator answers for its stewards' dice."""
    down_s: Annotated[float, Meta(gt=0)] = 10.0
    """Of kind `churn`: how long each is away."""


class Checks(Table, frozen=True):
    stop_s: Annotated[float, Meta(gt=0)] = 3_600.0
    """The task must be closed by then."""
    settle_s: Seconds = 20.0
    """After the close, this long until every live peer must hold the same records."""
    every_s: Annotated[float, Meta(gt=0)] = 10.0
    """How often the invariants of every machine are looked at."""
    wrong_results_max: Count = 0
    failed_chunks_max: Count = 0
    convicted_min: Count = 0
    """Identities the creator must have convicted at the end."""
    convicted_max: Count | None = None
    executions_max: Annotated[float, Meta(gt=0)] | None = None
    """Executions a chunk, at most: what liars must not be able to drive up."""
    must_close: bool = True


class Scenario(Table, frozen=True):
    name: str
    network: Network
    task: Task
    protocol: dict[str, Any] = {}
    """Fields of `ProtocolConfig` for everybody."""
    creator: dict[str, Any] = {}
    """Fields of `ProtocolConfig` for the creator besides."""
    liars: tuple[LiarGroup, ...] = ()
    faults: tuple[Fault, ...] = ()
    checks: Checks = Checks()

    def config(self, *, creator: bool) -> ProtocolConfig:
        """The configuration of a volunteer, or of the creator, which works for nobody else."""
        own = {"work": False, **self.creator} if creator else {}
        return ProtocolConfig(**{"network": "simulated", "epoch_offset_s": EPOCH_S, **self.protocol, **own})


def parse_scenario(text: str) -> Scenario:
    """A scenario from TOML.

    Raises:
        ScenarioError: It is not TOML, or has a key or a value that no scenario has.
    """
    try:
        scenario = msgspec.toml.decode(text, type=Scenario)
    except msgspec.MsgspecError as error:
        raise ScenarioError(f"{error}: correct the scenario") from None
    for group in scenario.liars:
        if group.kind not in KINDS:
            raise ScenarioError(f"there is no liar of kind `{group.kind}`: choose from {', '.join(KINDS)}")
    known = {field.name: field for field in fields(ProtocolConfig)}
    for table in (scenario.protocol, scenario.creator):
        for name, value in table.items():
            if name not in known:
                raise ScenarioError(
                    f"ProtocolConfig has no field `{name}`: see protocol/crowdcompute/protocol/config.py"
                )
            if type(value) is not type(known[name].default) and not (
                isinstance(value, int) and isinstance(known[name].default, float)
            ):
                raise ScenarioError(f"`{name}` must be like {known[name].default!r}, not {value!r}")
    return scenario


def load_scenario(path: Path) -> Scenario:
    """A scenario from a file.

    Raises:
        ScenarioError: The file cannot be read or is refused by `parse_scenario`.
    """
    try:
        return parse_scenario(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"cannot read {path}: {error}") from None
