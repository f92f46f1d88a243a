/** Reconciliation: the vectors of protocol/vectors/reconcile.json, and any two sets come to know their difference. */

import { sha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { concat } from "../src/protocol/bytes";
import { decode, encode } from "../src/protocol/codec";
import { FRAME_BYTES_MAX } from "../src/protocol/config";
import { RemoteProtocolError } from "../src/protocol/errors";
import {
  Allowance,
  ALLOWED_IDS,
  ALLOWED_IDS_LEAST,
  ALLOWED_IDS_PER_S,
  type Answer,
  answer,
  ATTEMPTS,
  CELL_BYTES,
  CELLS_MAX,
  type Difference,
  type Reconcile,
  ReconcileFrame,
  Reconciliation,
  SET_MAX,
  SKETCH_BYTES,
} from "../src/protocol/reconcile";
import type { Rng } from "../src/protocol/rng";
import { SeededRng } from "./seeded";
import { fromHex, hex, vectors } from "./vectors/read";

// A run that passed must pass again on the same code.
fc.configureGlobal({ seed: 20_261_123 });

/** A frame's bytes, or of a long one their hash. */
interface FrameVector {
  readonly bytes?: string;
  readonly sha256?: string;
}

interface Vectors {
  readonly topic: string;
  readonly exchanges: readonly {
    readonly name: string;
    readonly ours: readonly [first: number, end: number];
    readonly theirs: readonly [first: number, end: number];
    readonly steps: readonly {
      readonly salt: string;
      readonly request: FrameVector;
      readonly answer: readonly FrameVector[];
    }[];
  }[];
  readonly made_up_tables: readonly { readonly name: string; readonly frame: string }[];
  readonly refused_frames: readonly { readonly why: string; readonly bytes: string }[];
  readonly refused_answers: readonly {
    readonly why: string;
    readonly salt: string;
    readonly frames: readonly string[];
  }[];
}

const { topic, exchanges, made_up_tables, refused_frames, refused_answers }: Vectors = vectors("reconcile");
const TOPIC = fromHex(topic);
const SALT = Uint8Array.from({ length: 8 }, (_, index) => index);

/** A source of chance that says given salts. */
function saying(salts: readonly Uint8Array[]): Rng {
  const left = [...salts];
  const rng = new SeededRng(0);
  return { random: () => rng.random(), below: (limit) => rng.below(limit), bytes: () => left.shift()! };
}

/** Ids as in the vectors: SHA-256 of consecutive numbers. */
function recordIds(first: number, end: number): string[] {
  const number = new Uint8Array(4);
  return Array.from({ length: end - first }, (_, index) => {
    new DataView(number.buffer).setUint32(0, first + index);
    return hex(sha256(number));
  });
}

/** A frame as it arrives. */
function travelled<F extends ReconcileFrame>(frame: F): F {
  const data = encode(ReconcileFrame, frame);
  expect(data.length).toBeLessThanOrEqual(FRAME_BYTES_MAX);
  return decode(ReconcileFrame, data) as F;
}

interface Conversation {
  readonly difference: Difference;
  readonly steps: readonly { readonly request: Reconcile; readonly frames: readonly Answer[] }[];
}

/** Two honest ends. */
function converse(ours: readonly string[], theirs: readonly string[], rng: Rng): Conversation {
  const steps: { request: Reconcile; frames: Answer[] }[] = [];
  const asking = new Reconciliation(TOPIC, rng);
  let outcome: Reconcile | Difference | null = asking.begin(ours);
  while (outcome?.kind === "reconcile") {
    const frames = answer(travelled(outcome), theirs);
    steps.push({ request: outcome, frames });
    for (const [index, frame] of frames.entries()) {
      outcome = asking.received(travelled(frame), ours);
      if (index + 1 < frames.length) expect(outcome).toBeNull();
    }
  }
  return { difference: outcome as Difference, steps };
}

function expectFrame(frame: ReconcileFrame, expected: FrameVector): void {
  const data = encode(ReconcileFrame, frame);
  if (expected.bytes !== undefined) expect(hex(data)).toBe(expected.bytes);
  else expect(hex(sha256(data))).toBe(expected.sha256);
}

describe("reconcile.json", () => {
  test.each(exchanges)("$name", (exchange) => {
    const ours = recordIds(...exchange.ours);
    const theirs = recordIds(...exchange.theirs);
    const talk = converse(ours, theirs, saying(exchange.steps.map((step) => fromHex(step.salt))));
    expect(talk.steps.length).toBe(exchange.steps.length);
    for (const [index, { request, frames }] of talk.steps.entries()) {
      const expected = exchange.steps[index]!;
      expectFrame(request, expected.request);
      expect(frames.length).toBe(expected.answer.length);
      for (const [part, frame] of frames.entries()) expectFrame(frame, expected.answer[part]!);
    }
    expect(talk.difference.missing).toEqual(theirs.filter((id) => !ours.includes(id)).sort());
    expect(talk.difference.surplus).toEqual(ours.filter((id) => !theirs.includes(id)).sort());
  });

  test.each(made_up_tables)("a made-up table: $name", ({ frame }) => {
    for (const ours of [recordIds(0, 0), recordIds(0, 100)]) {
      const asking = new Reconciliation(TOPIC, saying([SALT, new Uint8Array(8)]));
      asking.begin(ours);
      expect(asking.received(decode(ReconcileFrame, fromHex(frame)) as Answer, ours)).toMatchObject({ attempt: 1 });
    }
  });

  test.each(refused_frames)("no frame: $why", ({ bytes }) => {
    expect(() => decode(ReconcileFrame, fromHex(bytes))).toThrow(RemoteProtocolError);
  });

  test.each(refused_answers)("no answer: $why", ({ salt, frames }) => {
    const ours = recordIds(0, 100);
    const asking = new Reconciliation(TOPIC, saying([fromHex(salt)]));
    asking.begin(ours);
    const answers = frames.map((frame) => decode(ReconcileFrame, fromHex(frame)) as Answer);
    const last = answers[answers.length - 1]!;
    for (const frame of answers.slice(0, -1)) expect(asking.received(frame, ours)).toBeNull();
    expect(() => asking.received(last, ours)).toThrow(RemoteProtocolError);
    expect(asking.received(last, ours), "nothing more comes of it").toBeNull();
  });
});

const size = fc.oneof(fc.nat(40), fc.nat(800));

test("any two sets converge in at most three round trips", () => {
  fc.assert(
    fc.property(size, size, size, fc.nat(), (common, missing, surplus, seed) => {
      const ours = recordIds(missing, missing + common + surplus);
      const theirs = recordIds(0, missing + common);
      const { difference, steps } = converse(ours, theirs, new SeededRng(seed));
      expect(difference.missing).toEqual(theirs.slice(0, missing).sort());
      expect(difference.surplus).toEqual(ours.slice(common).sort());
      expect(steps.length).toBeLessThanOrEqual(ATTEMPTS);
    }),
    { numRuns: 60 },
  );
});

test("a large set is reconciled for less than 85 bytes an id that differs", () => {
  const { difference, steps } = converse(recordIds(300, 50_300), recordIds(0, 50_000), new SeededRng(1));
  expect([difference.missing.length, difference.surplus.length]).toEqual([300, 300]);
  const frames = steps.flatMap((step) => [step.request, ...step.frames]);
  expect(frames.reduce((sum, frame) => sum + encode(ReconcileFrame, frame).length, 0)).toBeLessThan(600 * 85);
});

test("a table that is too small is asked for anew, and at last all ids come", () => {
  const ours = recordIds(300, 2_300);
  const theirs = recordIds(0, 2_000);
  const asking = new Reconciliation(TOPIC, new SeededRng(5));
  let outcome: Reconcile | Difference | null = asking.begin(ours);
  const kinds: string[] = [];
  const salts = new Set<string>();
  while (outcome?.kind === "reconcile") {
    salts.add(hex(outcome.salt));
    // A request whose sketch says that nothing differs, as in the worst of luck.
    const { sketch } = new Reconciliation(TOPIC, saying([outcome.salt])).begin(theirs);
    const frames = answer({ ...outcome, sketch }, theirs);
    kinds.push(frames[0]!.kind);
    for (const frame of frames) outcome = asking.received(frame, ours);
  }
  expect(kinds).toEqual(["reconcile-cells", "reconcile-cells", "reconcile-ids"]);
  expect(salts.size).toBe(ATTEMPTS);
  expect((outcome as Difference).missing.length).toBe(300);
});

const salt = fc.constant(SALT);
const requests: fc.Arbitrary<Reconcile> = fc.record({
  kind: fc.constant("reconcile"),
  topic: fc.constant(TOPIC),
  salt,
  attempt: fc.nat(ATTEMPTS - 1),
  count: fc.oneof(fc.nat(200), fc.integer({ min: 0, max: 2 ** 32 - 1 })),
  fingerprint: fc.uint8Array({ minLength: 8, maxLength: 8 }),
  sketch: fc.oneof(
    fc.uint8Array({ maxLength: SKETCH_BYTES }),
    fc.uint8Array({ minLength: SKETCH_BYTES, maxLength: SKETCH_BYTES }),
  ),
});

test("no request makes an answer longer than all ids", () => {
  fc.assert(
    fc.property(requests, fc.nat(400), (request, held) => {
      let frames: Answer[];
      try {
        frames = answer(travelled(request), recordIds(0, held));
      } catch (error) {
        expect(error).toBeInstanceOf(RemoteProtocolError);
        expect([0, SKETCH_BYTES]).not.toContain(request.sketch.length);
        return;
      }
      expect(concat(...frames.map((frame) => frame.data)).length).toBeLessThanOrEqual(32 * held);
    }),
  );
});

const data = fc.oneof(
  fc.uint8Array({ maxLength: 100 }),
  fc.nat(6).chain((items) => fc.uint8Array({ minLength: items * CELL_BYTES, maxLength: items * CELL_BYTES })),
  fc.nat(6).chain((items) => fc.uint8Array({ minLength: items * 32, maxLength: items * 32 })),
);
const answers: fc.Arbitrary<Answer> = fc.oneof(
  fc.record({
    kind: fc.constant("reconcile-cells" as const),
    salt,
    cells: fc.oneof(fc.constantFrom(0, 4, 8), fc.nat(CELLS_MAX)),
    data,
  }),
  fc.record({
    kind: fc.constant("reconcile-ids" as const),
    salt,
    count: fc.oneof(fc.nat(6), fc.nat(SET_MAX)),
    data,
  }),
);

test("no answers throw anything but a RemoteProtocolError", () => {
  fc.assert(
    fc.property(fc.array(answers, { maxLength: 6 }), fc.nat(30), (frames, held) => {
      const ours = recordIds(0, held);
      const asking = new Reconciliation(TOPIC, saying([SALT, SALT, SALT]));
      asking.begin(ours);
      for (const frame of frames) {
        try {
          const outcome = asking.received(travelled(frame), ours);
          if (outcome?.kind !== "difference") continue;
          expect(outcome.surplus.every((id) => ours.includes(id))).toBe(true);
          expect(outcome.missing.some((id) => ours.includes(id))).toBe(false);
        } catch (error) {
          expect(error).toBeInstanceOf(RemoteProtocolError);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test("an allowance is spent and comes back", () => {
  const allowance = new Allowance(100);
  expect(allowance.spend(ALLOWED_IDS - SET_MAX, 100)).toBe(true);
  expect(allowance.spend(10 * SET_MAX, 100), "no set costs more than the largest that is compared").toBe(true);
  expect(allowance.spend(0, 100), "a small set is not free").toBe(false);
  const later = 100 + (1.5 * ALLOWED_IDS_LEAST) / ALLOWED_IDS_PER_S;
  expect(allowance.spend(ALLOWED_IDS_LEAST, later)).toBe(true);
  expect(allowance.spend(ALLOWED_IDS_LEAST, later)).toBe(false);
});
