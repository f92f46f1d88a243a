/**
 * How a block may be left (WGSL's "behaviors"): at its end, or by a word that leaves more than it.
 *
 * What the guard prints ends in any case. But compilers look at this too, and a kernel is WGSL.
 */

import type { Block, Statement } from "./syntax";

type Way = "next" | "break" | "continue" | "return";

/** The ways out of a statement. A loop that has none is endless. */
export function ways(node: Statement): Set<Way> {
  switch (node.kind) {
    case "block": {
      const found = new Set<Way>();
      for (const each of node.statements) {
        found.delete("next");
        const inner = ways(each);
        for (const way of inner) found.add(way);
        if (!inner.has("next")) return found;
      }
      return found.add("next");
    }
    case "if":
      return new Set([...ways(node.then), ...(node.otherwise === null ? (["next"] as const) : ways(node.otherwise))]);
    case "loop": {
      const found = ways(node.body);
      if (node.condition !== null || found.has("break")) found.add("next");
      else found.delete("next");
      found.delete("break");
      found.delete("continue");
      return found;
    }
    case "switch": {
      const found = new Set([node.otherwise, ...node.cases.map(({ body }) => body)].flatMap((each) => [...ways(each)]));
      if (found.delete("break")) found.add("next");
      return found;
    }
    case "break":
    case "continue":
    case "return":
      return new Set([node.kind]);
    default:
      return new Set(["next"]);
  }
}

/** Whether a block always ends with a return. */
export function returns(block: Block): boolean {
  const last: Statement | undefined = block.statements.at(-1);
  switch (last?.kind) {
    case "return":
      return true;
    case "if":
      return last.otherwise !== null && returns(last.then) && returns(last.otherwise);
    case "block":
      return returns(last);
    default:
      return false;
  }
}
