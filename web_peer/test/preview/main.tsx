import { render } from "preact";
import { App } from "../../src/app";
import "../../src/styles.css";
import { recorded } from "./recorded";
import { NEWCOMER, OLD, PRIMES, snapshot, task } from "./snapshots";

/** `?state=` of the address says which recorded state to show. */
const STATES = {
  running: snapshot(),
  newcomer: NEWCOMER,
  creator: snapshot({ tasks: [task({ isMine: true }), PRIMES, OLD] }),
  waiting: snapshot({ mode: "waiting", reason: "no peers yet", peers: [], signaling: "unreachable", executing: 0 }),
  alone: snapshot({
    mode: "off",
    reason: "not started",
    tasks: [],
    peers: [],
    signaling: "unreachable",
    signalingDetail: "The signaling server at this address does not answer; trying again in 4 s.",
  }),
} as const;

const name = new URLSearchParams(location.search).get("state") ?? sessionStorage.getItem("state") ?? "running";
sessionStorage.setItem("state", name);
render(<App console={recorded(STATES[name as keyof typeof STATES])} />, document.querySelector("#app")!);
