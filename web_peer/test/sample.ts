import { array, bytes, bytes32, float, nullable, struct, text, tuple, u32, u53 } from "../src/protocol/codec";

/** One field of every sort that records are made of. The native peer's tests define the same. */
export const Sample = struct("Sample", {
  digest: bytes32,
  count: u32,
  size: u53,
  share: float,
  text: text({ max: 20 }),
  maybe: nullable(bytes()),
  runs: array(tuple(u32, u32)),
});
