import { Action } from "./action";
import { counted, fingerprint } from "./format";
import { Icon, Mark } from "./icons";

export type FaceState =
  | { readonly kind: "asks"; readonly name: string; readonly creator: string }
  | { readonly kind: "off" }
  | { readonly kind: "on"; readonly reason: string }
  | { readonly kind: "idle"; readonly sentence: string };

interface FaceProps {
  readonly state: FaceState;
  readonly today: number;
  readonly connection: string;
  readonly about: string;
  readonly start: () => Promise<unknown>;
  readonly pause: () => Promise<unknown>;
}

/** What the badge shows; drawn by the badge itself, and by the badge maker as a preview. */
export function BadgeFace({ state, today, connection, about, start, pause }: FaceProps) {
  return (
    <div class="embed">
      <h1 class="embed-name">
        <Mark /> CrowdCompute
      </h1>
      {state.kind === "on" && <p class="clamped">{state.reason}</p>}
      {state.kind === "off" && <p>Nothing is computed until you press Start.</p>}
      {state.kind === "idle" && <p class="clamped">{state.sentence}</p>}
      {state.kind === "asks" && (
        <>
          <p class="clamped">
            Lend this tab's spare time to <b>{state.name}</b>?
          </p>
          <p class="faint">
            By <span class="key">{fingerprint(state.creator)}</span>. No access to your files or network.
          </p>
        </>
      )}
      {state.kind === "on" && (
        <Action act={pause}>
          <Icon name="pause" /> Pause
        </Action>
      )}
      {(state.kind === "asks" || state.kind === "off") && (
        <Action look="main" act={start}>
          <Icon name="play" filled /> Start
        </Action>
      )}
      <p class="faint row">
        <span>
          {counted(today, "chunk")} today · {connection}
        </span>
        <a href={about} target="_blank" rel="noopener">
          What is this?
        </a>
      </p>
    </div>
  );
}
