"""What goes wrong, and when: turns a scenario's faults into actions on the world.

Faults fall on volunteers drawn at random; the creator has a fault of its own, because it always keeps its state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from crowdcompute.protocol.events import StewardNamed

from .scenario import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from .network import Node, World
    from .scenario import Fault


def schedule(world: World) -> None:
    """Put all faults of the world's scenario on its clock."""
    for fault in world.scenario.faults:
        world.at(fault.at_s, _action(world, fault))


def crash(world: World, node: Node, *, for_s: float, keep_state: bool) -> None:
    """A machine stops now and starts again later, with what it had saved or with nothing but its keys."""
    world.stop(node)
    world.at(world.now + for_s, lambda: world.start(node, keep_state=keep_state))


def silence(world: World, node: Node, *, for_s: float) -> None:
    """A machine goes on computing, but its network is gone: nothing comes or leaves."""
    node.silent = True

    def hears_again() -> None:
        if node.alive:
            node.silent = False

    world.at(world.now + for_s, hears_again)


def partition(world: World, share: float, *, for_s: float) -> None:
    """Cut the network in two: `share` of the volunteers against the rest, where the creator is."""
    volunteers = [node.index for node in world.nodes[1:]]
    far = set(world.rng.sample(volunteers, round(share * len(volunteers))))
    world.cut = (world.now + for_s, {node.index: int(node.index in far) for node in world.nodes})


def eclipse(world: World, victims: list[Node], *, for_s: float) -> None:
    """The signaling server names only liars to the victims, and the victims to nobody else."""
    world.eclipsed.update(node.index for node in victims)

    def ends() -> None:
        world.eclipsed.difference_update(node.index for node in victims)

    world.at(world.now + for_s, ends)


def delegate(world: World, stewards: list[Node], *, for_s: float, trusted: bool) -> None:
    """No fault: the creator lets these volunteers act for it while it is away, for so long."""
    until_s = int(EPOCH_S + world.now + for_s)
    for steward in stewards:
        world.tell(world.creator, StewardNamed(world.task, steward.signer.peer_id, until_s, trusted))


def _action(world: World, fault: Fault) -> Callable[[], None]:
    match fault.kind:
        case "crash":
            return lambda: _crash_some(world, fault)
        case "silence":
            return lambda: _silence_some(world, fault)
        case "partition":
            return lambda: partition(world, fault.share, for_s=fault.for_s)
        case "churn":
            return lambda: _churn(world, fault)
        case "replace":
            return lambda: _replace(world, fault, 1, [])
        case "eclipse":
            return lambda: _eclipse_some(world, fault)
        case "delegate":
            return lambda: _delegate_some(world, fault)
        case "creator-crash":
            return lambda: crash(world, world.creator, for_s=fault.for_s, keep_state=True)
        case _:
            assert_never(fault.kind)


def _some(world: World, fault: Fault) -> list[Node]:
    running = [node for node in world.live() if node.index]
    count = fault.count or round(fault.share * len(running))
    return world.rng.sample(running, min(count, len(running)))


def _crash_some(world: World, fault: Fault) -> None:
    for node in _some(world, fault):
        crash(world, node, for_s=fault.for_s, keep_state=fault.keep_state)


def _silence_some(world: World, fault: Fault) -> None:
    for node in _some(world, fault):
        silence(world, node, for_s=fault.for_s)


def _eclipse_some(world: World, fault: Fault) -> None:
    honest = [node for node in world.nodes[1:] if node.is_honest]
    count = fault.count or round(fault.share * len(honest))
    eclipse(world, world.rng.sample(honest, min(count, len(honest))), for_s=fault.for_s)


def _delegate_some(world: World, fault: Fault) -> None:
    joined = [node for node in world.live() if node.is_honest and node.signer.public_key in world.role.ledger.joins]
    delegate(world, world.rng.sample(joined, min(fault.count, len(joined))), for_s=fault.for_s, trusted=fault.trusted)


def _churn(world: World, fault: Fault) -> None:
    """One crash now, and the next after a random time."""
    if world.now >= fault.at_s + fault.for_s:
        return
    running = [node for node in world.live() if node.index]
    if running:
        crash(world, world.rng.choice(running), for_s=fault.down_s, keep_state=world.rng.random() < 0.5)
    world.at(world.now + world.rng.expovariate(1 / fault.every_s), lambda: _churn(world, fault))


def _replace(world: World, fault: Fault, number: int, frozen: list[Node]) -> None:
    """Some machines are killed and replaced at once by strangers; one more is stopped, and among the next to go."""
    over = world.now >= fault.at_s + fault.for_s or world.closed_at is not None
    share = fault.share * (len(world.nodes) - 1)
    count = 0 if over else round(number * share) - round((number - 1) * share)
    well = [node for node in world.live() if node.index]
    chosen = world.rng.sample(well, min(len(well), count))
    fresh, others = chosen[:1], chosen[1:]
    for node in [*frozen, *others]:
        world.stop(node)
        world.rename(node)
    for node in fresh:
        world.freeze(node)
    if not over:
        world.at(world.now + fault.every_s, lambda: _replace(world, fault, number + 1, fresh))
