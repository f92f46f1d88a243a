"""`cc-signaling`: run a signaling server.

Exit codes: 0 stopped by Ctrl+C or SIGTERM, 2 wrong usage, 3 a setting is not usable or the port is taken.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import cyclopts
from cyclopts import Parameter

from crowdcompute.protocol.errors import LocalProtocolError

if TYPE_CHECKING:
    from types import FrameType

    from .config import SignalingConfig

EXIT_USAGE = 2
EXIT_CONFIG = 3

BACKLOG = 4_096
"""Connections the kernel holds for us: a whole network may reconnect at once (research/webrtc.md section 5)."""

app = cyclopts.App(
    name="cc-signaling",
    help="Introduce CrowdCompute peers to each other. Knows nothing of tasks or results; stores nothing.",
    help_epilogue="Every option can also be set as CC_SIGNALING_NAME in the environment (CC_SIGNALING_PORT=9000).\n\n"
    "Exit codes: 0 stopped by Ctrl+C or SIGTERM, 2 wrong usage, 3 a setting is not usable or the port is taken.",
    result_action="return_value",
)


@app.command
def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    network: str | None = None,
    invite: str | None = None,
    public_url: str | None = None,
    also: list[str] | None = None,
    voucher: list[str] | None = None,
    stun: list[str] | None = None,
    turn: list[str] | None = None,
    turn_secret: str | None = None,
    clients_per_address: int | None = None,
    ready_json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Serve until Ctrl+C.

    Parameters
    ----------
    host
        Address to listen on (default 127.0.0.1; 0.0.0.0 lets other machines in).
    port
        TCP port (default 8765); 0 picks a free one.
    network
        Network named in the printed join link (default main).
    invite
        Only who knows it may enter that network; it becomes part of the join link. Better set as CC_SIGNALING_INVITE:
        other users of this machine can read flags.
    public_url
        What others type to reach this server, when a proxy stands before it.
    also
        Another signaling server of this network, http://host:port, named in the join link too; may be given again.
    voucher
        Peer id of whoever vouches for creators in this network (`cc-task vouch`), named in the join link; may be given
        again.
    stun
        STUN server told to clients, stun:host:port (default none); may be given again.
    turn
        TURN server told to clients, turn:host:port; may be given again, also as turn:host:port?transport=tcp.
    turn_secret
        The TURN servers' static-auth-secret: clients get credentials of their own, good for a day. Better set as
        CC_SIGNALING_TURN_SECRET: other users of this machine can read flags.
    clients_per_address
        Connections taken from one IP address (default 256).
    ready_json
        When listening, print one JSON line with url and join on stdout, and nothing else.
    """
    from .config import load

    config = load(
        host=host,
        port=port,
        network=network,
        invite=invite,
        public_url=public_url,
        also=tuple(also) if also else None,
        voucher=tuple(voucher) if voucher else None,
        stun=tuple(stun) if stun else None,
        turn=tuple(turn) if turn else None,
        turn_secret=turn_secret,
        clients_per_address=clients_per_address,
    )
    try:
        listener = _listen(config)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise LocalProtocolError(
            f"cannot listen on {config.host} port {config.port}: {reason};"
            " choose another with --host and --port (0 is any free port)"
        ) from None
    _announce(config, listener.getsockname()[1], ready_json=ready_json)
    _run(config, listener)
    return 0


def _listen(config: SignalingConfig) -> socket.socket:
    """Bind and listen before anything is printed: who reads our line may connect at once."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    return socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)


def _announce(config: SignalingConfig, port: int, *, ready_json: bool) -> None:
    url, join = config.url(port), str(config.join_link(port))
    if ready_json:
        print(json.dumps({"url": url, "join": join}), flush=True)
        return
    print(f"Signaling server at {url}\nJoin link: {join}\nVolunteers run: cc-node run '{join}'", flush=True)
    if sys.stdout.isatty():
        import segno

        segno.make(join).terminal(compact=True)


def _run(config: SignalingConfig, listener: socket.socket) -> None:
    import uvicorn

    from .app import create_app

    rules = config.rendezvous()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(rules, config.also, (config.url(listener.getsockname()[1]),)),
            # Measured in research/webrtc.md section 5: twice the relayed messages of the other choices.
            loop="auto" if sys.platform == "win32" else "uvloop",
            http="auto" if sys.platform == "win32" else "httptools",
            ws="websockets-sansio",
            ws_max_size=rules.message_bytes_max,
            # Signals are small and mostly random: deflate would cost 300 KB of memory a client for nothing.
            ws_per_message_deflate=False,
            backlog=BACKLOG,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )

    def stopped(_number: int, _frame: FrameType | None) -> None:
        """uvicorn stops gracefully on its own handler, then raises the signal again: for us that is success."""

    signal.signal(signal.SIGINT, stopped)
    signal.signal(signal.SIGTERM, stopped)
    server.run(sockets=[listener])


def main() -> None:
    """Console script. A person's mistake is one sentence on stderr and a documented exit code."""
    try:
        sys.exit(app(exit_on_error=False, print_error=True))
    except cyclopts.CycloptsError:
        sys.exit(EXIT_USAGE)
    except LocalProtocolError as error:
        print(f"cc-signaling: {error}.", file=sys.stderr)
        sys.exit(EXIT_CONFIG)


if __name__ == "__main__":
    main()
