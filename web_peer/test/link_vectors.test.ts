/** The vectors of links, protocol/vectors/{frames,session,signaling}.json, one test a case. */

import { describe, test } from "vitest";

import { cases as frames } from "./vectors/frames";
import { cases as session } from "./vectors/session";
import { cases as signaling } from "./vectors/signaling";

describe.each(Object.entries({ frames, session, signaling }))("%s.json", (_, cases) => {
  test.each(cases)("$name", ({ check }) => check());
});
