/** Addresses: which screen a path names, and what a join link carries. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { joinFragment, joinLink, keptFragment, parseRoute, readJoin } from "../src/screens/router";

const TASK = "0a".repeat(32);

const networks = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/);
const joins = fc.record({
  network: networks,
  taskId: fc.option(fc.stringMatching(/^[0-9a-f]{64}$/)),
  invite: fc.option(fc.string({ minLength: 1 })),
  servers: fc.array(fc.webUrl(), { maxLength: 3 }),
  vouchers: fc.array(fc.string(), { maxLength: 3 }),
});

describe("a path", () => {
  it.each([
    ["/", { kind: "computing" }],
    ["/j", { kind: "join" }],
    ["/j/", { kind: "join" }],
    ["/tasks", { kind: "tasks" }],
    [`/tasks/${TASK}`, { kind: "task", taskId: TASK }],
    [`/results/${TASK}`, { kind: "results", taskId: TASK }],
    ["/doctor", { kind: "doctor" }],
    ["/embed", { kind: "embed" }],
  ])("%s names its screen", (path, route) => {
    expect(parseRoute(path)).toEqual(route);
  });

  it.each(["/tasks/nothex", `/tasks/${TASK}/more`, "/results", "/healthz", "/constructor", `/me/${TASK}`])(
    "%s names no screen",
    (path) => {
      expect(parseRoute(path)).toEqual({ kind: "nowhere", path });
    },
  );

  it("of any kind is read without a fault", () => {
    fc.assert(fc.property(fc.webPath(), (path) => parseRoute(path).kind !== undefined));
  });
});

describe("a join link", () => {
  it("is read back as it was written", () => {
    fc.assert(
      fc.property(joins, (join) => {
        expect(readJoin(joinFragment(join))).toEqual({ kind: "join", join });
      }),
    );
  });

  it("keeps everything behind the #, where no server sees it", () => {
    fc.assert(
      fc.property(joins, (join) => {
        const { pathname, search } = new URL(joinLink("https://cc.example", join));
        expect([pathname, search]).toEqual(["/j", ""]);
      }),
    );
  });

  it("leaves network and invite, but not the task, in the address while moving on", () => {
    expect(keptFragment(`#n=main&t=${TASK}&i=secret`)).toBe("#n=main&i=secret");
    expect(keptFragment("#main")).toBe("");
  });

  it.each([
    [`#t=${TASK}`, "names no network"],
    ["#n=Not%20a%20name", "network's name"],
    ["#n=main&t=0a0b", "64 hexadecimal digits"],
  ])("%s is refused with a sentence", (fragment, part) => {
    const reading = readJoin(fragment);
    expect(reading.kind === "refused" && reading.sentence).toContain(part);
  });

  it("may be missing", () => {
    expect(readJoin("")).toEqual({ kind: "absent" });
  });
});
