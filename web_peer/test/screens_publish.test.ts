/** Publish: the form makes a draft or says what is wrong, and its examples are tasks that work. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EMPTY_FORM, type Form, readForm } from "../src/screens/publish/draft";
import { TEMPLATES } from "../src/screens/publish/templates";

const FORM: Form = { ...EMPTY_FORM, name: "Primes", cut: "range", source: TEMPLATES[0]!.source };

function refusal(part: Partial<Form>): readonly [string, string] {
  const reading = readForm({ ...FORM, ...part });
  if (reading.kind === "draft") throw new Error("the form was accepted");
  return [reading.field, reading.sentence];
}

describe("the form", () => {
  it("makes a range", () => {
    const reading = readForm({ ...FORM, start: "-5", stop: "1,000", step: "100" });
    expect(reading).toMatchObject({
      kind: "draft",
      chunks: 11,
      draft: { runtime: "js", split: { kind: "range", start: "-5", stop: "1000", step: "100" }, replication: 2 },
    });
  });

  it("makes a grid, with its last tiles cut", () => {
    const reading = readForm({ ...FORM, cut: "grid", width: "100", height: "64", tile: "64" });
    expect(reading).toMatchObject({
      kind: "draft",
      chunks: 2,
      draft: { split: { kind: "grid", tileWidth: 64, tileHeight: 64 } },
    });
  });

  it("counts memory and results in binary units, as WebAssembly does", () => {
    const reading = readForm({ ...FORM, memoryMb: "1", outputKb: "8" });
    expect(reading).toMatchObject({ draft: { memoryBytes: 1_048_576, outputBytes: 8_192 } });
  });

  it.each<[Partial<Form>, keyof Form, string]>([
    [{ name: "  " }, "name", "name"],
    [{ name: "x".repeat(81) }, "name", "80"],
    [{ description: "x".repeat(2001) }, "description", "2,000"],
    [{ link: "ftp://x" }, "link", "http"],
    [{ source: "function run() {}" }, "source", "export default"],
    [{ start: "1.5" }, "start", "whole number"],
    [{ stop: "0" }, "stop", "larger"],
    [{ step: "0" }, "step", "between 1"],
    [{ stop: "9223372036854775808" }, "stop", "between"],
    [{ stop: "9000000000000000000", step: "1" }, "step", "too many"],
    [{ cut: "grid", tile: "x" }, "tile", "whole number"],
    [{ seconds: "" }, "seconds", "number"],
    [{ memoryMb: "1000" }, "memoryMb", "256"],
    [{ eps: "0" }, "eps", "between"],
  ])("refuses %j and says where and why", (part, field, words) => {
    const [refused, sentence] = refusal(part);
    expect(refused).toBe(field);
    expect(sentence).toContain(words);
  });

  it("never does anything but accept or refuse", () => {
    const anything = fc.record({
      start: fc.string(),
      stop: fc.string(),
      step: fc.string(),
      seconds: fc.string(),
      eps: fc.string(),
    });
    fc.assert(fc.property(anything, (part) => ["draft", "refused"].includes(readForm({ ...FORM, ...part }).kind)));
  });
});

describe("the examples", () => {
  type Task = (args: readonly bigint[], stdin: Uint8Array) => unknown;
  const load = async (source: string): Promise<Task> =>
    ((await import(`data:text/javascript,${encodeURIComponent(source)}`)) as { default: Task }).default;

  it("count the primes below 100", async () => {
    const task = await load(TEMPLATES[0]!.source);
    expect(task([0n, 100n], new Uint8Array())).toEqual({ first: 0, end: 100, primes: 25 });
  });

  it("draw a tile of three bytes a pixel", async () => {
    const task = await load(TEMPLATES[1]!.source);
    const pixels = task([0n, 0n, 64n, 32n], new Uint8Array());
    expect(pixels).toBeInstanceOf(Uint8Array);
    expect((pixels as Uint8Array).length).toBe(64 * 32 * 3);
  });

  it.each(TEMPLATES)("pass the form: $title", ({ source, cut }) => {
    expect(readForm({ ...FORM, source, cut }).kind).toBe("draft");
  });
});
