/** What a person reads in a tab that has no peer. */

import { expect, test } from "vitest";
import { isSilent, notLoaded, notStarted } from "../src/peer/failure";

test("every sentence says what happened, and then what to do", () => {
  for (const sentence of [
    notLoaded(undefined),
    notLoaded("Uncaught SyntaxError: Cannot use import statement outside a module"),
    isSilent(20),
    notStarted(new TypeError("x is not a function.")),
    notStarted(new DOMException("The operation is insecure.", "SecurityError")),
    notStarted("a bare text"),
  ]) {
    expect(sentence).toMatch(/^The peer of this tab (could not|has not) .+\. Load the page again\. .+\.$/);
    expect(sentence).not.toMatch(/\.\)|undefined|\(\)/);
  }
  expect(notStarted(new DOMException("The operation is insecure.", "SecurityError"))).toContain("(SecurityError: ");
});

test("an error of our own is a sentence for the person already", () => {
  const ours = "CrowdCompute is open in 16 tabs of this browser already: close one of them.";
  expect(notStarted(new Error(ours))).toBe(ours);
});
