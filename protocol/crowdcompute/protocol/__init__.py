"""The rules of the network, without any I/O: no sockets, clock, randomness or files (protocol/README.md).

What drivers, tools and tests of other packages may use, module by module. Nothing is imported here, because whoever
wants one error class should not wait for the whole peer.

    errors       whose fault it is: RemoteProtocolError, LocalProtocolError, BundleError, ModuleRefused
    identity     Identity, PeerId, Signer, Verifier, verify
    codec        encode and decode typed MessagePack
    config       ProtocolConfig and the numbers of the wire
    events       inputs and outputs of a peer: the whole interface between the rules and the world
    peer         Peer, which composes everything below
    creator      CreatorRole: a task of one's own
    worker       WorkerRole: a task of another's that is worked for
    results      what a person asks of such a task: ChunkResult, Progress
    assigning    what the creator asks of one worker, sealed
    closing      TaskState, and when a task may be closed
    storage      BlobStore, the one thing a peer reads and writes itself

    manifest     Manifest and its parts, signing and opening it
    split        from a manifest to each chunk's input and seed
    feeding      what a stream was fed while it runs
    onward       results of one task as inputs of the next
    permissions  which addresses a task may have fetched
    vouching     who answers for a creator, and for what
    bundle       a task as one file
    blobs        bytes by their SHA-256, and their pieces
    exchange     which pieces of which blobs to ask of whom; simulated alone, as is
    serving      whose pieces go first, and how fast
    wasm         which modules are admitted, and the rewriter
    javascript   what a script finds around it, and how it is seeded
    gpu          which kernels are admitted, and how each device's language says them
    policy       how much checking a task needs, and why

    epochs       a task's epochs, and the chains that beacons and lots come from
    provisional  what the records say while a task's creator is away

    records      the signed records of a task
    batch        sealed votes
    named        results that votes only name, and that counting takes
    stewarding   who acts for an absent creator, and the keys for it
    tally        what a set of votes says
    lineage      votes that rest on others' savepoints
    ledger       what a set of records says in public
    leases       which chunks its workers say that they are on
    credit       what workers earned, and proofs of it
    accounts     which devices are whose, and leaderboards
    login        logging in to a server, and the statements it keeps
    opening      what a creator shows of a closed task
    recount      a certificate checked from what was shown
    frames       what travels on a link

    join_link    where to meet, as a person pastes it
    signaling    how strangers meet: what the signaling server hears and says
    signals      offers, answers and candidates, signed end to end
    direct       a TCP way offered in an SDP, and the proof of who takes it
    rendezvous   the signaling server's state machine
    streams      links on a plain stream of bytes: framing, and what is said first

Every other module is the inside of `peer`.
"""
