"""Peers that do not do what they should.

A liar is a real, correct `Peer` whose surroundings lie: it is told wrong outcomes, or what it asks to send is changed
on the way out. So it keeps every rule it does not break on purpose, as a clever adversary would.

| kind | what it does | what must happen |
|---|---|---|
| alone | every result wrong, each liar its own | convicted |
| colluding | every result wrong, all liars alike | convicted |
| rate | wrong on a share of the chunks, all liars on the same ones and alike | convicted, or too rare to matter |
| sleeper | honest for a while, then `colluding` | convicted; its honest past falls with it |
| withholder | votes rightly and never sends a result | not convicted; the work is done by others |
| equivocator | tells half of its neighbours another commit with the same seq | convicted |
| staller | leases and never finishes | not convicted; the work is done by others |
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from crowdcompute.protocol.batch import Leaf, seal_commit
from crowdcompute.protocol.events import Channel, ChunkOutcome, SendFrame, Status
from crowdcompute.protocol.frames import Publish, decode_frame, encode_frame
from crowdcompute.protocol.identity import NONCE_BYTES
from crowdcompute.protocol.manifest import Manifest
from crowdcompute.protocol.records import Commit, chunks_of, parse, sign

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.events import Output
    from crowdcompute.protocol.identity import Signer
    from crowdcompute.protocol.records import Signed

    from .scenario import LiarGroup


class Behaviour:
    """An honest peer. Subclasses override what they lie about."""

    convictable = False
    """Whether the protocol may convict it: it signs something no honest worker signs."""

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        """What the peer is told came out of a chunk."""
        return honest

    def finishes(self) -> bool:
        """Whether a job ever ends."""
        return True

    def outputs(self, outputs: list[Output]) -> list[Output]:
        """What leaves the machine of what the peer asks for."""
        return outputs


def _wrong(honest: ChunkOutcome, salt: bytes) -> ChunkOutcome:
    digest = sha256(b"lie" + salt + honest.chunk.to_bytes(4)).digest()
    size = max(8, len(honest.data))
    return ChunkOutcome(honest.chunk, Status.OK, (digest * (size // len(digest) + 1))[:size])


class Alone(Behaviour):
    convictable = True

    def __init__(self, signer: Signer) -> None:
        self._salt = signer.public_key

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        return _wrong(honest, self._salt)


class Colluding(Behaviour):
    """Lies about the share `rate` of all chunks, after having computed `after` honestly."""

    convictable = True

    def __init__(self, rate: float, after: int) -> None:
        self._rate = rate
        self._honest_left = after

    def outcome(self, honest: ChunkOutcome) -> ChunkOutcome:
        if self._honest_left > 0:
            self._honest_left -= 1
            return honest
        # The chunk decides, so that all of them lie about the same ones.
        if int.from_bytes(sha256(b"choice" + honest.chunk.to_bytes(4)).digest()[:4]) >= self._rate * 2**32:
            return honest
        return _wrong(honest, b"all alike")


class Withholder(Behaviour):
    def outputs(self, outputs: list[Output]) -> list[Output]:
        return [output for output in outputs if not (isinstance(output, SendFrame) and output.channel is Channel.BULK)]


class Staller(Behaviour):
    def finishes(self) -> bool:
        return False


class Equivocator(Behaviour):
    """Signs every commit twice with one seq; neighbours with an odd place in its list hear the second."""

    convictable = True

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._seal_keys: dict[bytes, bytes] = {}  # task -> the creator's seal key
        self._second: dict[bytes, Signed] = {}
        self._sides: dict[str, bool] = {}

    def knows(self, task: bytes, manifest: Manifest) -> None:
        self._seal_keys[task] = manifest.seal_key

    def outputs(self, outputs: list[Output]) -> list[Output]:
        return [self._output(output) if isinstance(output, SendFrame) else output for output in outputs]

    def _output(self, output: SendFrame) -> SendFrame:
        other_side = self._sides.setdefault(output.peer_id, len(self._sides) % 2 == 1)
        if not other_side or output.channel is not Channel.CONTROL:
            return output
        frame = decode_frame(output.frame)
        if not isinstance(frame, Publish):
            return output
        records = tuple(self._twin(signed) for signed in frame.records)
        return SendFrame(output.peer_id, output.channel, encode_frame(Publish(frame.topic, records)))

    def _twin(self, signed: Signed) -> Signed:
        if signed.kind != "commit" or signed.author != self._signer.public_key:
            return signed
        twin = self._second.get(signed.record_id)
        if twin is None:
            commit = parse(signed)
            assert isinstance(commit, Commit)
            leaves = [
                Leaf(chunk, Status.OK, inline=True, size=32, data=sha256(b"twin" + chunk.to_bytes(4)).digest())
                for chunk in chunks_of(commit.shard, commit.runs)
            ]
            twin = sign(
                self._signer,
                seal_commit(
                    self._signer,
                    self._seal_keys[commit.task],
                    commit.task,
                    commit.seq,
                    leaves,
                    salt=commit.root[:16],
                    nonce=commit.root[:NONCE_BYTES],
                ),
            )
            self._second[signed.record_id] = twin
        return twin


def behaviour(group: LiarGroup, signer: Signer, tasks: Sequence[tuple[bytes, Manifest]]) -> Behaviour:
    """One member of a group of liars."""
    match group.kind:
        case "alone":
            return Alone(signer)
        case "colluding":
            return Colluding(1.0, 0)
        case "rate":
            return Colluding(group.rate, 0)
        case "sleeper":
            return Colluding(1.0, group.after)
        case "withholder":
            return Withholder()
        case "staller":
            return Staller()
        case "equivocator":
            equivocator = Equivocator(signer)
            for task, manifest in tasks:
                equivocator.knows(task, manifest)
            return equivocator
