/**
 * Results that votes only name, where they have to be compared (spec/ledger.md, "Results compared as numbers").
 *
 *     a commit:                 HELD --each result it names is here, or nobody delivers it--> counted
 *     a vote in it for one that nobody delivers:  no result --the result comes by somebody else's vote--> counted
 *
 * A hash does not say which other results one agrees with. So a commit is counted when what it names is here, and not
 * before: the creator fetches it from the commit's author at once. What nobody delivers is worth nothing and convicts
 * nobody: then others are asked. Votes thus depend on which results are here, and on no order in which they came.
 */

import { type Leaf, makeLeaf } from "./batch";
import { fromHex, hex, type Hex } from "./bytes";
import type { Desk } from "./desk";
import { Status } from "./events";
import type { Rest } from "./lineage";
import { isNamed } from "./opening";
import type { Copy } from "./reclaiming";
import type { Stewards } from "./stewards";
import type { BlobStore } from "./storage";

/** Whose result is not here by then is not waited for: others are asked, as for what nobody leases. */
const DELIVERED_WITHIN_S = 5;

const NOT_DELIVERED = new TextEncoder().encode("a result that nobody delivers");

/** One commit, as the referee takes it. */
export interface Held {
  readonly author: Hex;
  readonly seq: number;
  /** Its record's id. */
  readonly commit: Uint8Array;
  readonly leaves: readonly Leaf[];
  /** The savepoints of others that it went on from. */
  readonly rests?: readonly Rest[];
}

/** The named results of one task of ours whose results are compared as numbers. */
export class Named {
  /** Commits, and which results of each are awaited. */
  private readonly held = new Map<Held, Set<Hex>>();
  /** When each of them came that is not overdue yet. */
  private readonly since = new Map<Held, number>();
  /** As how large each awaited result is looked for now, last, and was before: nobody's word on it binds. */
  private readonly tried = new Map<Hex, number[]>();
  /** Results that nobody delivered, and single votes for them: should one come, they count. */
  private readonly lacking = new Map<Hex, Held[]>();

  /** Chunks whose result by ourselves is lost. */
  private ours: number[] = [];

  constructor(
    private readonly me: Hex,
    private readonly stewards: Stewards,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
  ) {}

  /** Whether there are commits that cannot be counted yet. */
  get isWaiting(): boolean {
    return this.held.size > 0;
  }

  /** Whose votes on a chunk will soon be counted. */
  voters(chunk: number): Hex[] {
    const voting = [...this.since.keys()].filter(({ leaves }) => leaves.some((leaf) => leaf.chunk === chunk));
    return voting.map(({ author }) => author);
  }

  /** Whether a vote waits for this result, or could do with it. */
  needs(digest: Hex): boolean {
    return this.lacking.has(digest) || [...this.held.values()].some((awaited) => awaited.has(digest));
  }

  /** The result of a vote, if it is here. What the vote says of a named one's size binds nobody. */
  read({ inline, data }: Leaf): Uint8Array | null {
    if (inline) return data;
    const size = this.blobs.size(data);
    return size === null ? null : this.blobs.read(data, 0, size);
  }

  /** A commit that opens: what can be counted now. `isFetching` says whether to get what it lacks already. */
  take(commit: Held, isFetching: boolean, now: number): Held[] {
    const awaited = commit.leaves.filter((leaf) => this.isLacking(leaf)).map(({ data }) => hex(data));
    if (awaited.length === 0) return [commit];
    this.held.set(commit, new Set(awaited));
    this.since.set(commit, now);
    if (isFetching) this.fetchAll(commit);
    return [];
  }

  /** Get everything that is awaited. */
  fetch(): void {
    for (const commit of [...this.held.keys()]) this.fetchAll(commit);
  }

  /**
   * A result is here, or nobody delivers it: what can be counted now. One that nobody delivers in one size is looked for in
   * the next: who votes first must not spoil others' votes.
   */
  settled(digest: Hex, isHere: boolean): Held[] {
    if (!isHere && this.fetchInAnotherSize(digest)) return [];
    this.tried.delete(digest);
    const counted = (isHere && this.lacking.get(digest)) || [];
    if (isHere) this.lacking.delete(digest);
    for (const [commit, awaited] of this.held) {
      if (!awaited.delete(digest) || awaited.size > 0) continue;
      this.held.delete(commit);
      this.since.delete(commit);
      counted.push({ ...commit, leaves: commit.leaves.flatMap((leaf) => this.orNothing(commit, leaf)) });
    }
    return counted;
  }

  /** The chunks that we have to execute again, told once: of our own result nothing is left but its hash. */
  lost(): number[] {
    const lost = this.ours;
    this.ours = [];
    return lost;
  }

  /** The chunks of commits that are not waited for any longer, told once. */
  overdue(now: number): Set<number> {
    const chunks = new Set<number>();
    for (const [{ leaves }, at] of this.since) if (now - at >= DELIVERED_WITHIN_S) leaves.forEach(({ chunk }) => chunks.add(chunk));
    for (const [commit, at] of this.since) if (now - at >= DELIVERED_WITHIN_S) this.since.delete(commit);
    return chunks;
  }

  /** The sealed copies that commits which wait for a result name. */
  copies(digest: Hex, custodians: ReadonlyMap<Hex, readonly Hex[]>): Copy[] {
    const waiting = [...this.held].filter(([, awaited]) => awaited.has(digest)).map(([commit]) => commit);
    waiting.sort((left, right) => (left.author === right.author ? left.seq - right.seq : left.author < right.author ? -1 : 1));
    return waiting.flatMap(({ author, leaves }) =>
      leaves
        .filter(({ sealed, data }) => sealed.length > 0 && hex(data) === digest)
        .map((leaf) => ({ maker: author, leaf, custodians: custodians.get(author) ?? [] })),
    );
  }

  private isLacking(leaf: Leaf): boolean {
    return isNamed(leaf) && this.blobs.size(leaf.data) === null;
  }

  private fetchAll(commit: Held): void {
    const providers = [commit.author, ...this.stewards.delegations.keys()].map(fromHex);
    for (const { data, size } of commit.leaves) {
      const digest = hex(data);
      if (this.held.get(commit)?.has(digest) !== true) continue;
      if (!this.tried.has(digest)) this.tried.set(digest, [size]);
      // Who says another size would be blamed for what it sends, were it asked now.
      if (this.tried.get(digest)!.at(-1) === size) this.desk.fetch(data, size, null, providers);
    }
  }

  private fetchInAnotherSize(digest: Hex): boolean {
    const tried = this.tried.get(digest) ?? [];
    const votes = [...this.held]
      .filter(([, awaited]) => awaited.has(digest))
      .flatMap(([{ author, leaves }]) => leaves.map((leaf) => ({ author, leaf })))
      .filter(({ leaf }) => hex(leaf.digest) === digest && !tried.includes(leaf.size));
    if (votes.length === 0) return false;
    const size = Math.min(...votes.map(({ leaf }) => leaf.size));
    this.tried.set(digest, [...tried, size]);
    const authors = new Set(votes.filter(({ leaf }) => leaf.size === size).map(({ author }) => author));
    this.desk.fetch(fromHex(digest), size, null, [...authors].sort().map(fromHex));
    return true;
  }

  private orNothing(commit: Held, leaf: Leaf): Leaf[] {
    if (!this.isLacking(leaf)) return [leaf];
    const digest = hex(leaf.data);
    this.lacking.set(digest, [...(this.lacking.get(digest) ?? []), { ...commit, leaves: [leaf] }]);
    if (commit.author === this.me) {
      this.ours.push(leaf.chunk);
      return [];
    }
    return [makeLeaf(leaf.chunk, Status.NO_RESULT, true, NOT_DELIVERED.length, NOT_DELIVERED)];
  }
}
