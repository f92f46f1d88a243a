/** What JavaScript tasks run in, fetched with the first of them. */

import libmUrl from "../../../protocol/crowdcompute/protocol/javascript/libm.wasm?url";
import preludeUrl from "../../../protocol/crowdcompute/protocol/javascript/prelude.js?url";

import type { JsParts } from "../sandbox/javascript";

export async function fetchJs(): Promise<JsParts> {
  const [prelude, libm] = await Promise.all([
    fetched(preludeUrl).then((response) => response.text()),
    fetched(libmUrl).then((response) => response.arrayBuffer()),
  ]);
  return { prelude, libm: new Uint8Array(libm) };
}

async function fetched(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response;
}
