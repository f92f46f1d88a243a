/** A Worker of its own for one file of records: its thousands of signatures must keep neither page nor peer waiting. */

import { hex } from "../protocol/bytes";
import { ProtocolError } from "../protocol/errors";
import { readShown } from "../protocol/opening";
import { DoesNotHold, recount } from "../protocol/recount";
import { verify } from "../protocol/software";
import { type EvidenceView, failed, words } from "./evidence";

self.onmessage = ({ data }: MessageEvent<Uint8Array>) => self.postMessage(checked(data));

function checked(data: Uint8Array): EvidenceView {
  try {
    const counted = recount(readShown(data), verify);
    return { holds: true, taskId: hex(counted.certificate.task), words: words(counted) };
  } catch (error) {
    if (error instanceof DoesNotHold) return failed(error.message, error.chunk, error.worker);
    if (error instanceof ProtocolError) return failed(error.message, null, null);
    throw error;
  }
}
