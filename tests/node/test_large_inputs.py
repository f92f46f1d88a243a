"""Inputs larger than memory: signed, stored, served and read without ever being held whole."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from crowdcompute.creator.large_inputs import LargeInputs
from crowdcompute.protocol.blobs import PIECE_BYTES, describe, describe_stream
from crowdcompute.protocol.split import pack_items

GIB = 2**30

GIGABYTE = """
import json, resource, sys, time
from pathlib import Path
from random import Random
from crowdcompute.creator.task_file import read_task_file
from crowdcompute.creator.work import sign_task
from crowdcompute.node.store.blobs import DiskBlobStore
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.exchange import Exchange
from crowdcompute.protocol.identity import Identity, PeerId
from crowdcompute.protocol.pieces import members, pieces_of
from crowdcompute.protocol.serving import Serving
from crowdcompute.protocol.split import ChunkReader
from crowdcompute.protocol.wasm import rewrite

folder, chunk = Path(sys.argv[1]), int(sys.argv[2])
task = read_task_file(folder / "task")
bundle = sign_task(task, rewrite((folder / "task" / "kernel.wasm").read_bytes()), Identity(bytes(32)))
ref = bundle.manifest.inputs
stores = [DiskBlobStore(folder / name, 2 * 2**30) for name in ("creator", "volunteer")]
stores[0].put_file(ref.sha256, task.inputs.blocks(), len(task.inputs))
names = [PeerId("creator"), PeerId("volunteer")]
servings = [Serving(ProtocolConfig()) for _ in names]
exchanges = [Exchange(ProtocolConfig(), store, Random(1), serving) for store, serving in zip(stores, servings)]
exchanges[0].link_opened(names[1], 0.0)
exchanges[1].link_opened(names[0], 0.0)

def run():
    moved = True
    while moved:
        moved = False
        for at, other in ((0, 1), (1, 0)):
            frames, _ = exchanges[at].drain(0.0)
            for _, frame in frames:
                moved = True
                servings[at].drained(names[other])
                exchanges[other].received(names[at], frame, 0.0)

def peak_mb():
    # Not getrusage: there a process begins with what its parent had, and pytest has a lot by then.
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes, where there is no /proc
    (peak,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(peak.split()[1]) / 1024

reader = ChunkReader(bundle.manifest, lambda start, length: stores[1].read(ref.sha256, start, length))
pieces = pieces_of(*(lambda begin, end: (begin, end - begin))(*reader.span(chunk)))
exchanges[1].fetch_pieces(ref.sha256, ref.size, ref.root, pieces, 0.0)
run()
data = reader.read(chunk)
taken = stores[1].used_bytes
if sys.argv[3] == "whole":
    exchanges[1].fetch(ref.sha256, ref.size, ref.root, (), 0.0)
    run()
print(json.dumps({
    "data": data.hex()[:200], "bytes": len(data), "pieces": len(list(members(pieces))), "taken": taken,
    "size": stores[1].size(ref.sha256), "chunks": bundle.manifest.chunks,
    "peak_mb": peak_mb(),
}))
"""


def parts(folder: Path) -> list[Path]:
    rng = random.Random(1)
    files = [folder / str(number) for number in range(4)]
    for file, size in zip(files, (0, 10, 3 * 2**20 + 1, PIECE_BYTES), strict=True):
        file.write_bytes(rng.randbytes(size))
    return files


def test_large_inputs_read_like_the_blob_they_stand_for(tmp_path: Path) -> None:
    files = parts(tmp_path)
    blob = pack_items(file.read_bytes() for file in files)
    large = LargeInputs.packed(files)
    assert len(large) == len(blob)
    assert describe_stream(large.blocks()) == describe(blob)
    for start, length in ((0, 4), (3, 40), (30, 2**20), (len(blob) - 5, 99), (len(blob), 1)):
        assert large(start, length) == blob[start : start + length]


@pytest.mark.slow
@pytest.mark.parametrize(("how", "size"), [("one chunk", GIB), ("whole", 3 * GIB // 16)])
def test_large_inputs_are_signed_served_and_read_without_being_held(tmp_path: Path, how: str, size: int) -> None:
    folder = tmp_path / "task"
    folder.mkdir()
    chunk, chunk_bytes = 20, 2**22
    with (folder / "inputs.bin").open("wb") as file:
        file.truncate(size)
        # All holes but one chunk: it costs no disk and no time, and the hashes do not know.
        file.seek(chunk * chunk_bytes)
        written = random.Random(2).randbytes(chunk_bytes)
        file.write(written)
    (folder / "kernel.wasm").write_bytes((Path(__file__).parents[2] / "examples/collatz/collatz.wasm").read_bytes())
    (folder / "task.toml").write_text(
        'schema = 1\nname = "large"\n[code]\nmodule = "kernel.wasm"\n'
        f'[split]\nblocks = {{file = "inputs.bin", size = {chunk_bytes}}}\n[limits]\nmemory = "16MiB"\n'
    )
    command = [sys.executable, "-c", GIGABYTE, str(tmp_path), str(chunk), how]
    told = json.loads(subprocess.run(command, capture_output=True, check=True, text=True, timeout=300).stdout)
    assert told["chunks"] == size // chunk_bytes
    assert told["data"] == written.hex()[:200]
    assert told["bytes"] == chunk_bytes
    assert told["pieces"] == chunk_bytes // PIECE_BYTES
    assert told["taken"] == chunk_bytes
    assert told["size"] == (size if how == "whole" else None)
    assert told["peak_mb"] < 128
    if how == "whole":
        # Not by its own word.
        (copy,) = (tmp_path / "volunteer").glob("??/*")
        whole = sha256()
        with copy.open("rb") as file:
            while block := file.read(2**20):
                whole.update(block)
        assert whole.hexdigest() == copy.name
