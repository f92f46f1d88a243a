"""What this machine itself can do: links, its local network, its disk, the sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.protocol.direct import PROOF_BYTES
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.signals import fingerprint_of

from .findings import Finding, bad, good, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.node.executors.gpu import GpuChoice
    from crowdcompute.node.transports.link import StackName

LINUX_LAYERS = ("process", "rlimits", "no_new_privs", "landlock", "seccomp")
LINK_WITHIN_S = 10.0
MDNS_WITHIN_S = 2.0


async def udp(hosts: Sequence[str], stack: StackName) -> Finding:
    """Connect two links of this process over its own addresses, as two peers of one machine would."""
    from crowdcompute.node.transports.webrtc import link_class

    loop = asyncio.get_running_loop()
    make = link_class(stack)
    one, other = (make(Identity(bytes([seed]) * 32).peer_id, hosts=hosts) for seed in (1, 2))
    started = loop.time()
    try:
        async with asyncio.timeout(LINK_WITHIN_S):
            offer = await one.make_offer()
            answer = await other.accept_offer(offer)
            await one.accept_answer(answer)
            await asyncio.gather(one.opened(fingerprint_of(answer)), other.opened(fingerprint_of(offer)))
        return good(f"Two links inside this machine reached each other in {(loop.time() - started) * 1000:.0f} ms.")
    except (TimeoutError, ConnectionError):
        return bad(
            "Two links inside this machine do not reach each other: a firewall blocks UDP between programs, or "
            "there is no network at all."
        )
    finally:
        for link in (one, other):
            link.close("the doctor is done")
        await asyncio.gather(one.wait_closed(), other.wait_closed())


async def tcp(hosts: Sequence[str], stack: StackName) -> Finding:
    """Make a direct link inside this process over its own addresses, as two native peers of one LAN would."""
    from crowdcompute.node.transports import direct

    if stack != "auto":
        return note(f"No direct links are made: all are WebRTC, by {stack}, as --stack says.")
    one, other = (Identity(bytes([seed]) * 32).peer_id for seed in (1, 2))
    certificate, loop = direct.Certificate(), asyncio.get_running_loop()
    listener = direct.Listener(certificate, direct.Ends("doctor", one, ()), lambda proof: True)
    way = await listener.start(direct.own_addresses(hosts))
    started = loop.time()
    try:
        if way is None:
            return bad("This machine has no address at which others could reach it by TCP.")
        link = await direct.dial(
            certificate,
            direct.Ends("doctor", other, ()),
            way,
            bytes(PROOF_BYTES),
            within_s=LINK_WITHIN_S,
        )
        link.close("the doctor is done")
        return good(f"A direct link inside this machine was made in {(loop.time() - started) * 1000:.0f} ms.")
    except ConnectionError as error:
        return bad(
            f"No direct link inside this machine can be made ({error}): native peers near by are linked by WebRTC, "
            "which carries a tenth. A firewall blocks TCP between programs."
        )
    finally:
        listener.close()


async def mdns() -> Finding:
    """Publish a name on the local network and hear our own question for it answered, over real multicast."""
    from aioice import mdns as names

    help_ = "peers of one local network then find each other through the signaling server only"
    name = names.create_mdns_hostname()
    try:
        answering, asking = await names.create_mdns_protocol(), await names.create_mdns_protocol()
    except OSError as error:
        return bad(f"Port 5353 cannot be used for local names ({os.strerror(error.errno or 0)}); {help_}.")
    try:
        await answering.publish(name, "192.0.2.1")
        heard = await asking.resolve(name, timeout=MDNS_WITHIN_S)
    except OSError:
        heard = None
    finally:
        await asyncio.gather(answering.close(), asking.close())
    if heard is None:
        return bad(f"Multicast does not come back, so names of the local network are not heard; {help_}.")
    return good("Names of the local network are answered and heard.")


async def disk(folder: Path, wanted_bytes: int) -> Finding:
    """Free space where the node keeps its data, and whether what is written there can be made to stay."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            file.write(b"?")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return bad(f"{folder} cannot be written ({error.strerror}): free some space, or choose another with CC_HOME.")
    free = shutil.disk_usage(existing).free
    if free < wanted_bytes:
        return bad(
            f"{_size(free)} free where the node may use {_size(wanted_bytes)}: free some space, or run with a "
            "smaller --disk."
        )
    return good(f"{_size(free)} free; the node uses {_size(wanted_bytes)} at most.")


async def sandbox() -> Finding:
    """Start a worker process, and ask which layers hold it."""
    from crowdcompute.node.executors.pool import WorkerPool

    pool = WorkerPool(1)
    try:
        await pool.start()
        layers = pool.describe().layers
    except RuntimeError as error:
        return bad(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    finally:
        await pool.close()
    missing = [layer for layer in LINUX_LAYERS if layer not in layers] if sys.platform == "linux" else []
    if missing:
        return bad(
            f"Tasks are held by {', '.join(layers)} but not by {', '.join(missing)}: a newer kernel, or a container "
            "that allows it, has them all."
        )
    if sys.platform != "linux":
        return note(f"Tasks are held by {', '.join(layers)} and WebAssembly's own walls; Linux has more layers.")
    return good(f"Tasks are held by {', '.join(layers)}.")


async def gpu(choice: GpuChoice) -> Finding:
    """Start the worker that has the GPU, if there is one that compiles anything."""
    from crowdcompute.node.executors.pool import WorkerPool

    pool = WorkerPool(1, gpu=choice)
    try:
        await pool.start()
        if pool.gpu.device:
            return good(f"Kernels run on {pool.gpu.device}, once it has reproduced a task's golden vectors.")
        return note(f"Kernels run as modules on the processor, as no GPU is used: {pool.gpu.missing}.")
    except RuntimeError as error:
        return bad(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    finally:
        await pool.close()


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def host_for(hosts: Sequence[str]) -> str:
    """The address to ask STUN servers from: the one that is offered to peers, if there is a single IPv4 one."""
    for host in hosts:
        try:
            socket.inet_aton(host)
        except OSError:
            continue
        return host
    return "0.0.0.0"
