/**
 * What the page and the peer's Worker say to each other: one picture of the state going out, commands coming in.
 *
 * The Worker owns the truth (protocol, keys, storage); the screens only show a `Snapshot` and send `Command`s. A snapshot
 * is plain data, complete, posted after changes but at most a few times a second, so a screen never has to ask what
 * happened before it was opened.
 */

/** Why nothing is computed although the person pressed Start; null while computing. */
export type PauseReason =
  | "not started"
  | "paused by you"
  | "finishing"
  | "no task chosen"
  | "fetching a part of the page"
  | "no peers yet"
  | "nothing left to compute"
  | "on battery"
  | "data saver is on"
  | "the device is hot"
  | "the browser cannot run this task";

export type Mode = "off" | "waiting" | "running" | "paused" | "finishing";

export interface ConsentState {
  /** `asked`: shown to the person, no answer yet. A consent expires after 30 days or with a new task version. */
  readonly state: "none" | "given" | "refused" | "expired";
  readonly expiresS: number | null;
}

export interface ChunkMark {
  readonly chunk: number;
  readonly state: "begun" | "voted" | "accepted" | "failed";
  /** Executed here. */
  readonly mine: boolean;
}

export interface GridView {
  readonly columns: number;
  readonly rows: number;
  /** In pixels; tiles at the right and bottom edges are cut. */
  readonly width: number;
  readonly height: number;
  readonly tileWidth: number;
  readonly tileHeight: number;
}

export interface TaskView {
  readonly taskId: string;
  readonly name: string;
  readonly description: string;
  readonly link: string;
  readonly creator: string;
  /** Who answers for the creator, of those whom the join link names, and who that says it is; null: nobody. */
  readonly verified: { readonly by: string; readonly name: string } | null;
  /** True once the manifest's Ed25519 signature has been checked on this device. */
  readonly signatureOk: boolean;
  readonly runtime: "wasm" | "js" | "gpu" | "net";
  /** What a task that fetches may fetch: `net:` and an address each (protocol/spec/permissions.md). */
  readonly permissions: readonly string[];
  readonly codeSha256: string;
  readonly codeBytes: number;
  /** Data that every worker fetches whole. */
  readonly inputBytes: number;
  /** What of it is more than this tab gives to any task. */
  readonly exceeds: "fetches" | "memory" | "time" | "inputs" | "proof of work" | null;
  readonly memoryBytes: number;
  readonly outputBytes: number;
  readonly chunkSeconds: number;
  readonly chunks: number;
  readonly accepted: number;
  readonly begun: number;
  readonly failed: number;
  readonly workers: number;
  readonly replication: number;
  readonly eps: number;
  readonly createdS: number;
  readonly expiresS: number;
  /** How the picture is cut when the split is a grid, so that the work, and results that are pixels, can be drawn. */
  readonly grid: GridView | null;
  readonly consent: ConsentState;
  readonly isChosen: boolean;
  /** We are its creator. */
  readonly isMine: boolean;
  readonly state: "open" | "closed" | "expired";
  readonly certificate: CertificateView | null;
  /** Work of this device for this task. */
  readonly mine: Tally;
}

export interface Tally {
  readonly done: number;
  readonly confirmed: number;
  readonly outvoted: number;
  readonly computeSeconds: number;
}

export interface CertificateView {
  readonly accepted: number;
  readonly failed: number;
  readonly executions: number;
  readonly audits: number;
  readonly mismatches: number;
  readonly convicted: number;
  readonly eps: number;
  readonly bound: number;
  readonly confidence: number;
  readonly rootSha256: string;
}

export interface PeerView {
  readonly peerId: string;
  readonly state: "greeting" | "open" | "suspected" | "gone";
  readonly dialled: boolean;
}

export interface Happening {
  readonly atS: number;
  readonly what: string;
  readonly taskId: string | null;
  readonly peerId: string | null;
  readonly chunk: number | null;
  readonly detail: string;
}

export interface Settings {
  /** Share of the time the slots compute, 0.1 to 1. */
  readonly power: number;
  /** Sandbox Workers at the same time. */
  readonly slots: number;
  readonly pauseOnBattery: boolean;
  readonly pauseOnSaveData: boolean;
  readonly pauseWhenHot: boolean;
  readonly allowJs: boolean;
  /** Whether kernels may run on the GPU: not before the person says so. Software plays one, for tests. */
  readonly gpu: "off" | "on" | "software";
  readonly keepAwake: boolean;
  /** Bytes a second of blobs given to other peers at most; null for as many as connections take. */
  readonly uploadBytesPerS: number | null;
}

export interface Snapshot {
  readonly peerId: string;
  readonly network: string;
  readonly signaling: "connecting" | "connected" | "unreachable" | "not used";
  readonly signalingDetail: string;
  /** As the signaling server named them, empty for none; the connection doctor tries them. */
  readonly iceServers: readonly RTCIceServer[];
  readonly mode: Mode;
  readonly reason: PauseReason | null;
  /** Chunks being executed here at this moment: closing the page would lose them. */
  readonly executing: number;
  readonly peers: readonly PeerView[];
  readonly tasks: readonly TaskView[];
  readonly settings: Settings;
  readonly total: Tally;
  /** Chunks done in each of the last 24 hours, oldest first. */
  readonly lastDay: readonly number[];
  /** The newest last, 200 at most. */
  readonly happenings: readonly Happening[];
  readonly keyKind: "WebCrypto, not extractable" | "software key";
  readonly storedBytes: number;
}

/** What this device earned in one task, and a file that proves it (`cc-node credit --verify`). */
export interface CreditView {
  readonly taskId: string;
  readonly millicredits: number;
  readonly proof: Blob;
}

/** What a screen asks about accounts. Whatever changes ours answers with what it is then. */
export type AccountAsk =
  | { readonly what: "look" | "backup" | "saved" | "waiting" | "history" | "leave" }
  | { readonly what: "join"; readonly account: string; readonly name: string }
  /** Make an account with this device as its first one; the picture is a small PNG, or empty. */
  | { readonly what: "create"; readonly name: string; readonly picture: Uint8Array; readonly device: string }
  | { readonly what: "restore"; readonly file: Uint8Array; readonly device: string }
  /** Null keeps the picture. */
  | { readonly what: "profile"; readonly name: string; readonly picture: Uint8Array | null }
  /** A consent as it waits at the server, or as a person has pasted it. */
  | { readonly what: "link"; readonly consent: Uint8Array | string }
  | { readonly what: "renew" | "revoke"; readonly peerId: string }
  /** Null asks for all tasks of this network. */
  | { readonly what: "leaders"; readonly taskId: string | null }
  /** Somebody's history. */
  | { readonly what: "check"; readonly file: Uint8Array };

export interface AccountAnswer {
  /** Our consent as text. */
  readonly consent?: string;
  readonly mine?: AccountView | null;
  /** Beside ours: why the server does not know it, in words for the person; empty when it does. */
  readonly untold?: string;
  readonly leaders?: readonly LeaderView[];
  readonly waiting?: readonly JoiningView[];
  readonly file?: Blob;
  readonly history?: HistoryView;
}

/** The account that this device belongs to, or has asked to join. */
export interface AccountView {
  readonly id: string;
  readonly joined: {
    readonly name: string;
    readonly picture: Blob | null;
    /** The account's key is in this browser. */
    readonly speaks: boolean;
    /** Its backup can still be saved. */
    readonly hasBackup: boolean;
    readonly millicredits: number;
    readonly tasks: readonly EarnedView[];
    readonly devices: readonly {
      readonly peerId: string;
      readonly name: string;
      readonly untilS: number;
      readonly mayAct: boolean;
      readonly isThis: boolean;
    }[];
  } | null;
}

/** What an account has earned in a task. */
export interface EarnedView {
  readonly taskId: string;
  readonly name: string;
  readonly millicredits: number;
}

/** A device that asks to join our account. */
export interface JoiningView {
  readonly peerId: string;
  readonly name: string;
  readonly consent: Uint8Array;
}

/** What somebody's history proves. */
export interface HistoryView {
  readonly id: string;
  readonly name: string;
  readonly picture: Blob | null;
  readonly madeS: number;
  readonly tasks: readonly EarnedView[];
}

/** A line of a leaderboard: an account, or a device that belongs to none (its name is empty). */
export interface LeaderView {
  readonly id: string;
  readonly name: string;
  readonly picture: Blob | null;
  readonly millicredits: number;
  readonly workers: number;
  readonly tasks: number;
}

/** One vote on one chunk as the creator's page shows it. */
export interface VoteView {
  readonly worker: string;
  readonly resultSha256: string;
  readonly agrees: boolean;
}

export interface ChunkResult {
  readonly chunk: number;
  readonly state: "open" | "voted" | "accepted" | "failed";
  readonly bytes: Uint8Array | null;
  readonly votes: readonly VoteView[];
  readonly detail: string;
}

/** A manifest as parsed from a dropped bundle or made from the form, before it is signed and published. */
export interface Draft {
  readonly name: string;
  readonly description: string;
  readonly link: string;
  readonly runtime: "wasm" | "js";
  readonly source: Uint8Array;
  readonly split:
    | { readonly kind: "range"; readonly start: string; readonly stop: string; readonly step: string }
    | { readonly kind: "grid"; readonly width: number; readonly height: number; readonly tileWidth: number; readonly tileHeight: number };
  readonly seconds: number;
  readonly memoryBytes: number;
  readonly outputBytes: number;
  readonly replication: 1 | 2 | 3;
  readonly eps: number;
}

export interface TestRun {
  readonly status: "ok" | "task error" | "no result";
  readonly bytes: Uint8Array;
  readonly detail: string;
  readonly seconds: number;
}

/** What is known of a task while its creator is away. */
export interface AwayView {
  /** Until when its creator said that it was there. */
  readonly sinceS: number;
  /** Chunks with a result that counts until the creator is back, by votes that lots drew. */
  readonly provisional: number;
  /** Chunks that a steward settled. */
  readonly bySteward: number;
  readonly sealed: number;
  readonly disputed: number;
  /** The least probability that a provisional result is right. */
  readonly credibility: number | null;
  readonly liarsFound: number;
}

/** What a screen may ask. Each gets one answer of the named type, or an `Error` whose message can be shown as it is. */
export interface Commands {
  start: { args: Record<string, never>; answer: void };
  pause: { args: Record<string, never>; answer: void };
  finish: { args: Record<string, never>; answer: void };
  consent: { args: { taskId: string; give: boolean }; answer: void };
  chooseTask: { args: { taskId: string; chosen: boolean }; answer: void };
  changeSettings: { args: Partial<Settings>; answer: void };
  chunkMarks: { args: { taskId: string }; answer: readonly ChunkMark[] };
  /** Null while the creator is there, or where this page cannot tell. */
  away: { args: { taskId: string }; answer: AwayView | null };
  chunkResult: { args: { taskId: string; chunk: number }; answer: ChunkResult };
  /** The records behind the certificate of a closed task of ours. */
  exportEvidence: { args: { taskId: string }; answer: Blob };
  exportResults: { args: { taskId: string }; answer: Blob };
  credit: { args: Record<string, never>; answer: readonly CreditView[] };
  account: { args: AccountAsk; answer: AccountAnswer };
  readBundle: { args: { bytes: Uint8Array }; answer: TaskView };
  testRun: { args: { draft: Draft; chunk: number } | { bundle: Uint8Array; chunk: number }; answer: TestRun };
  publishDraft: { args: { draft: Draft }; answer: { taskId: string; joinLink: string } };
  publishBundle: { args: { bytes: Uint8Array }; answer: { taskId: string; joinLink: string } };
  retrySignaling: { args: Record<string, never>; answer: void };
  forgetEverything: { args: Record<string, never>; answer: void };
}

export type CommandName = keyof Commands;

/** The page's side: a live snapshot and a way to ask. */
export interface Console {
  onSnapshot(listener: (snapshot: Snapshot) => void): () => void;
  /** Why there is no peer, in words for the person that say what to do; taken back by a snapshot that comes after all. */
  onFailure(listener: (sentence: string) => void): () => void;
  ask<Name extends CommandName>(name: Name, args: Commands[Name]["args"]): Promise<Commands[Name]["answer"]>;
}
