/**
 * What a browser peer keeps across a reload, in one IndexedDB database: signed records, blobs, consents, small values.
 *
 * `commit` keeps everything it is given or nothing, and returns once it is on the disk (`durability: "strict"`): the
 * runtime sends no frame before that, so nothing is told to anybody that a crash could make us forget.
 *
 * Every tab is a peer of its own: two that shared a key would sign different things under one name, which is what
 * liars are convicted for. So the databases are numbered, and a tab holds the first one that no other tab holds.
 */

import type { Hex } from "../protocol/bytes";
import type { StoredAccountKey } from "./account_key";
import type { Settings } from "./console";
import type { StoredKey } from "./keys";
import type { SavepointName, StoredSavepoint } from "./savepoints";

/** Tabs of one browser that compute at the same time. More would only share the same cores. */
const PLACES_MAX = 16;
const VERSION = 1;

export interface StoredRecord {
  readonly record: Hex;
  readonly task: Hex;
  readonly network: string;
  /** The encoded `Signed`. */
  readonly signed: Uint8Array;
}

export interface StoredBlob {
  readonly digest: Hex;
  readonly data: Uint8Array;
}

export interface StoredConsent {
  readonly taskId: Hex;
  readonly creator: Hex;
  readonly given: boolean;
  readonly atS: number;
}

/** Counters that outlive the page: they are shown, nothing is decided by them. */
export interface StoredCounters {
  /** Compute time by task. */
  readonly seconds: { readonly [taskId: Hex]: number };
  /** Chunks done by hour since the epoch; only the last 24 are kept. */
  readonly hours: { readonly [hour: number]: number };
}

interface Values {
  key: StoredKey;
  settings: Partial<Settings>;
  counters: StoredCounters;
  /** Tasks consented to that the person does not want to work on now. */
  unchosen: readonly Hex[];
  /** The account asked to join, and what it says of itself since it named us. */
  account: { readonly asked: Uint8Array; readonly statement: Uint8Array | null } | undefined;
  /** The account's key, where this browser speaks for it. */
  accountKey: StoredAccountKey | null;
  /** What the key is made of, until a backup of it is saved. */
  accountSeed: Uint8Array | null;
  /** Whether to go on computing after a reload. */
  isOn: boolean;
  /** The names of those that there are. */
  savepoints: readonly SavepointName[];
  [name: SavepointName]: StoredSavepoint | null;
}

export interface Changes {
  readonly records: readonly StoredRecord[];
  readonly blobs: readonly StoredBlob[];
  readonly discarded: readonly Hex[];
}

export interface Store {
  read<Name extends keyof Values>(name: Name): Promise<Values[Name] | undefined>;
  write<Name extends keyof Values>(name: Name, value: Values[Name]): Promise<void>;
  /** All records of a network, in the order saved. */
  records(network: string): Promise<readonly StoredRecord[]>;
  blobs(): Promise<readonly StoredBlob[]>;
  consents(): Promise<readonly StoredConsent[]>;
  keepConsent(consent: StoredConsent): Promise<void>;
  commit(changes: Changes): Promise<void>;
  /** Delete the whole database, the key included. Nothing of this store works afterwards. */
  forget(): Promise<void>;
}

/** Open the first database that no other tab holds; it is held until this Worker ends. */
export async function openStore(): Promise<Store> {
  const place = await holdPlace();
  const name = place === 0 ? "crowdcompute" : `crowdcompute-${place}`;
  return storeIn(await openDatabase(name), name);
}

async function holdPlace(): Promise<number> {
  for (let place = 0; place < PLACES_MAX; place++) {
    if (await isHeldByUs(`crowdcompute place ${place}`)) return place;
  }
  throw new Error(`CrowdCompute is open in ${PLACES_MAX} tabs of this browser already: close one of them.`);
}

function isHeldByUs(name: string): Promise<boolean> {
  if (navigator.locks === undefined) return isAnsweredByNobody(name);
  return new Promise((resolve, reject) => {
    const held = navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      // The lock lasts as long as this promise: until the Worker ends.
      return lock === null ? undefined : new Promise<never>(() => {});
    });
    held.catch(reject);
  });
}

/** How long another tab has to object. A Worker answers within milliseconds, also in a hidden tab. */
const OBJECT_WITHIN_MS = 150;

/** Where the origin is insecure there are no locks: ask, and answer whoever asks later. */
function isAnsweredByNobody(name: string): Promise<boolean> {
  const channel = new BroadcastChannel(name);
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      channel.onmessage = ({ data }) => {
        if (data === "who is here?") channel.postMessage("I am");
      };
      resolve(true);
    }, OBJECT_WITHIN_MS);
    channel.onmessage = ({ data }) => {
      if (data !== "I am") return;
      clearTimeout(timer);
      channel.close();
      resolve(false);
    };
    channel.postMessage("who is here?");
  });
}

async function openDatabase(name: string): Promise<IDBDatabase> {
  const opening = openedFor(name);
  opening.onupgradeneeded = () => {
    const database = opening.result;
    const records = database.createObjectStore("records", { keyPath: "position", autoIncrement: true });
    records.createIndex("record", "record", { unique: true });
    records.createIndex("network", "network");
    database.createObjectStore("blobs", { keyPath: "digest" });
    database.createObjectStore("consents", { keyPath: "taskId" });
    database.createObjectStore("values");
  };
  return answer(opening);
}

function openedFor(name: string): IDBOpenDBRequest {
  try {
    return indexedDB.open(name, VERSION);
  } catch (error) {
    // Cookies blocked, a private window, or an embedding page that may store nothing.
    const kind = error instanceof Error ? error.name : String(error);
    throw new Error(
      `This browser lets this page store nothing (${kind}), and a peer must remember what it signed: allow this site to ` +
        "store data, or leave private mode, then load the page again.",
    );
  }
}

function storeIn(database: IDBDatabase, name: string): Store {
  const reading = (from: string): IDBObjectStore => database.transaction(from).objectStore(from);
  const put = async (into: string, value: unknown, key?: string): Promise<void> => {
    const transaction = database.transaction(into, "readwrite");
    transaction.objectStore(into).put(value, key);
    await finished(transaction);
  };
  return {
    read: (value) => answer(reading("values").get(value)),
    write: (value, content) => put("values", content, value),
    records: (network) => answer(reading("records").index("network").getAll(network)),
    blobs: () => answer(reading("blobs").getAll()),
    consents: () => answer(reading("consents").getAll()),
    keepConsent: (consent) => put("consents", consent),
    async commit({ records, blobs, discarded }) {
      const transaction = database.transaction(["records", "blobs"], "readwrite", { durability: "strict" });
      const recordStore = transaction.objectStore("records");
      const known = recordStore.index("record");
      for (const record of new Map(records.map((each) => [each.record, each])).values()) {
        // Adding what is there would abort everything else: the index is asked first, within the transaction.
        known.count(record.record).onsuccess = (event) => {
          if ((event.target as IDBRequest<number>).result === 0) recordStore.add(record);
        };
      }
      const blobStore = transaction.objectStore("blobs");
      for (const blob of blobs) blobStore.put(blob);
      for (const digest of discarded) blobStore.delete(digest);
      await finished(transaction);
    },
    async forget() {
      database.close();
      await answer(indexedDB.deleteDatabase(name));
    },
  };
}

function answer<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(explained(request.error));
  });
}

function finished(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(explained(transaction.error));
  });
}

function explained(error: DOMException | null): Error {
  if (error?.name === "QuotaExceededError") {
    return new Error("This browser allows no more storage for this page: free some space, then load the page again.");
  }
  return new Error(`This browser's storage cannot be used (${error?.message ?? "it was closed"}): load the page again.`);
}
