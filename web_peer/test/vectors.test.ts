/** The vectors of protocol/vectors, one test a case. The native peer's tests write and hold the same files. */

import { describe, expect, test } from "vitest";

import { cases as accounts } from "./vectors/accounts";
import { cases as away } from "./vectors/away";
import { cases as batches } from "./vectors/batches";
import { cases as blobs } from "./vectors/blobs";
import { cases as bundle } from "./vectors/bundle";
import { cases as codec } from "./vectors/codec";
import { cases as identity } from "./vectors/identity";
import { cases as ledger } from "./vectors/ledger";
import { cases as manifest } from "./vectors/manifest";
import { cases as onward } from "./vectors/onward";
import { cases as permissions } from "./vectors/permissions";
import { cases as policy } from "./vectors/policy";
import { cases as records } from "./vectors/records";
import { cases as split } from "./vectors/split";
import { cases as evidence } from "./vectors/evidence";
import { cases as stewards } from "./vectors/stewards";
import { cases as feeding } from "./vectors/feeding";
import { cases as credit } from "./vectors/credit";
import { cases as tally } from "./vectors/tally";

const FILES = {
  accounts,
  away,
  identity,
  codec,
  manifest,
  onward,
  split,
  blobs,
  bundle,
  records,
  batches,
  ledger,
  tally,
  permissions,
  policy,
  credit,
  evidence,
  stewards,
  feeding,
};

for (const [file, cases] of Object.entries(FILES)) {
  describe(`${file}.json`, () => {
    for (const { name, check } of cases) test(name, check);
  });
}

test("the vectors are as many as promised", () => {
  const total = Object.values(FILES).reduce((sum, cases) => sum + cases.length, 0);
  console.info(`${total} cases of ${Object.keys(FILES).length} vector files`);
  expect(total).toBeGreaterThanOrEqual(650);
});
