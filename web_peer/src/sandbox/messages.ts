/**
 * What the peer, the sandbox's page and its Workers post to each other.
 *
 *     peer's Worker ── ToPage ──► sandbox page        starts and ends Workers, answers pings
 *                   ◄─ FromPage ─
 *     peer's Worker ── ToTaskWorker ──► task Worker   over a port of its own: loads programs, runs chunks
 *                   ◄─ FromTaskWorker ─
 *
 * Strangers' code runs in the task Worker, so what comes from there is checked like a stranger's words.
 */

import type { ChunkInput, ChunkOutcome } from "../protocol/events";
import type { Allowance, SavedState } from "./ended";
import type { GpuChoice } from "./gpu_messages";
import type { JsParts } from "./javascript";

export type ToPage =
  /** Start a Worker under a number of the sender's choice and give it `port`, and the GPU if it may use that. */
  | { readonly kind: "start"; readonly worker: number; readonly port: MessagePort; readonly gpu: GpuChoice }
  /** End it at once, whatever it does. */
  | { readonly kind: "end"; readonly worker: number }
  /** Answered by `pong`: the page is alive. */
  | { readonly kind: "ping" };

export type FromPage =
  | { readonly kind: "pong" }
  /** A Worker failed as a whole: its script threw, or it ran out of memory. */
  | { readonly kind: "died"; readonly worker: number; readonly detail: string };

export type ToTaskWorker =
  /** Compile `code` and keep it as `program`. Answered by `loaded`. */
  | {
      readonly kind: "load";
      readonly program: number;
      readonly code: Uint8Array;
      readonly allowance: Allowance;
      /** What a script runs in; null for others. The sandbox itself can load nothing, so it is handed in. */
      readonly js: JsParts | null;
      /** The script that a kernel runs in; null for others. */
      readonly kernelScript: string | null;
    }
  /** Drop a program. Not answered. */
  | { readonly kind: "forget"; readonly program: number }
  /** Execute chunks in order. Answered by `report`s, the last of which is `done`, and `saved` between them. */
  | {
      readonly kind: "run";
      readonly program: number;
      readonly chunks: readonly ChunkInput[];
      /** Report after every chunk, so that the chunk which never ends is known. */
      readonly isCautious: boolean;
      /** The share of its time that a kernel computes: it rests between dispatches. */
      readonly power: number;
      /** What each chunk goes on from; null for its beginning. */
      readonly states: readonly (SavedState | null)[];
      /** How often the state of a chunk is worth a `saved`. */
      readonly saveEveryMs: number;
    };

export type FromTaskWorker =
  /** The program is compiled, or refused for the reason given. */
  | { readonly kind: "loaded"; readonly refusal: string }
  /** Outcomes since the last report, in order. */
  | { readonly kind: "report"; readonly outcomes: readonly ChunkOutcome[]; readonly isDone: boolean }
  /** A chunk that runs could go on from this state, after this Worker's end. */
  | { readonly kind: "saved"; readonly chunk: number; readonly state: SavedState };
