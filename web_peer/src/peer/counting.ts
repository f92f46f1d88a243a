/**
 * How long this device has worked, for the person who lends it: shown, never decided by, and kept now and then. What it
 * has voted on stands in its records.
 */

import type { Hex } from "../protocol/bytes";
import type { Store, StoredCounters } from "./store";

const HOURS = 24;
/** How much counting a crash may lose. Writing every batch would wake the disk all day. */
const KEEP_EVERY_MS = 5_000;

export class Counting {
  private readonly seconds: Map<Hex, number>;
  private readonly hours: Map<number, number>;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly store: Store,
    stored: StoredCounters | undefined,
    private readonly unixS: () => number,
  ) {
    this.seconds = new Map(Object.entries(stored?.seconds ?? {}));
    this.hours = new Map(Object.entries(stored?.hours ?? {}).map(([hour, chunks]) => [Number(hour), chunks]));
  }

  /** Chunks of a task were executed in so long. */
  worked(task: Hex, seconds: number): void {
    this.seconds.set(task, this.secondsOf(task) + seconds);
    this.keep();
  }

  /** So many chunks were voted on just now. */
  voted(chunks: number): void {
    const hour = this.hour();
    this.hours.set(hour, (this.hours.get(hour) ?? 0) + chunks);
    for (const old of this.hours.keys()) if (old <= hour - HOURS) this.hours.delete(old);
    this.keep();
  }

  private keep(): void {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      // Counters are not worth stopping for; the next records that cannot be kept will say so.
      this.store.write("counters", this.stored()).catch(() => undefined);
    }, KEEP_EVERY_MS);
  }

  secondsOf(task: Hex): number {
    return this.seconds.get(task) ?? 0;
  }

  get totalSeconds(): number {
    return [...this.seconds.values()].reduce((total, seconds) => total + seconds, 0);
  }

  /** Chunks by hour, the current hour last. */
  get lastDay(): readonly number[] {
    const hour = this.hour();
    return Array.from({ length: HOURS }, (_, index) => this.hours.get(hour - HOURS + 1 + index) ?? 0);
  }

  private hour(): number {
    return Math.floor(this.unixS() / 3_600);
  }

  private stored(): StoredCounters {
    return { seconds: Object.fromEntries(this.seconds), hours: Object.fromEntries(this.hours) };
  }
}
