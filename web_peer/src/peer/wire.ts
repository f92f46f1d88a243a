/** What the page and the peer's Worker post to each other. */

import type { Conditions } from "./conditions";
import type { CommandName, Commands, Snapshot } from "./console";
import type { RtcEvent, RtcRequest } from "./rtc";

export type ToWorker =
  /** The first message: the page's address, which names the server and, after `#`, the network. */
  | { readonly to: "peer"; readonly address: string }
  | { readonly to: "links"; readonly event: RtcEvent }
  | { readonly to: "sandbox"; readonly port: MessagePort }
  | { readonly to: "conditions"; readonly conditions: Conditions }
  | {
      readonly to: "commands";
      readonly ask: number;
      readonly name: CommandName;
      readonly args: Commands[CommandName]["args"];
    };

export type FromWorker =
  | { readonly to: "rtc"; readonly request: RtcRequest }
  /** A sandbox is wanted: the first, or one in place of one that died. Or none is: what runs in it is to end now. */
  | { readonly to: "sandbox"; readonly isWanted: boolean }
  | { readonly to: "screens"; readonly snapshot: Snapshot }
  /** The peer could not start, for the reason given. */
  | { readonly to: "failure"; readonly sentence: string }
  | { readonly to: "asker"; readonly ask: number; readonly answer: unknown; readonly error: string | null };
