import { useState } from "preact/hooks";
import { Action } from "../../../widgets/action";
import { CopyField } from "../../../widgets/copy";
import { bytes, fingerprint } from "../../../widgets/format";
import { Qr } from "../../../widgets/qr";
import type { Ask } from "../account";
import { named, NameField, PictureField } from "./fields";

interface Props {
  readonly ask: Ask;
  /** The account that was asked, until it answers. */
  readonly waitsFor: string | null;
  /** The device's own id: what a new account's picture is drawn from before it has a key. */
  readonly peerId: string;
}

/** This device belongs to no account: make one, join one, or bring one back. */
export function Newcomer({ ask, waitsFor, peerId }: Props) {
  // The QR code that another device shows leads here, with the account behind the `#`.
  const [invited] = useState(new URLSearchParams(location.hash.slice(1)).get("a"));
  const isJoining = invited !== null || waitsFor !== null;
  return (
    <>
      <p>
        You need none to help. With an account your devices are counted together, under a name and a picture that
        leaderboards show. It is a key: no password, no e-mail address, nobody to register with.
      </p>
      <details open={!isJoining}>
        <summary>Make an account</summary>
        <Make ask={ask} peerId={peerId} />
      </details>
      <details open={isJoining}>
        <summary>Join one of another device</summary>
        <Join ask={ask} account={invited ?? waitsFor ?? ""} waitsFor={waitsFor} />
      </details>
      <details>
        <summary>Bring one back from its backup</summary>
        <Restore ask={ask} />
      </details>
    </>
  );
}

function Make({ ask, peerId }: { ask: Ask; peerId: string }) {
  const [name, setName] = useState("");
  const [device, setDevice] = useState("Browser");
  const [picture, setPicture] = useState(new Uint8Array());
  const make = async (): Promise<unknown> =>
    ask({ what: "create", name: named(name, "the account"), picture, device: named(device, "this device") });
  return (
    <div class="form">
      <NameField label="Name to show" value={name} change={setName} />
      <NameField label="Name of this device" value={device} change={setDevice} />
      <PictureField id={peerId} shown={null} change={(png) => setPicture(png as Uint8Array<ArrayBuffer>)} />
      <Action look="main" act={make}>
        Make the account
      </Action>
    </div>
  );
}

function Join({ ask, account: first, waitsFor }: { ask: Ask; account: string; waitsFor: string | null }) {
  const [account, setAccount] = useState(first);
  const [name, setName] = useState("Browser");
  const [consent, setConsent] = useState("");
  const join = async (): Promise<void> => {
    const answer = await ask({ what: "join", account, name: named(name, "this device") });
    setConsent(answer.consent ?? "");
  };
  return (
    <div class="form">
      <p class="faint">
        There, <i>Link another device</i> (or <code>cc-node account link --link …</code>) shows a code that leads here.
      </p>
      <label class="field">
        Account's id
        <input value={account} autocomplete="off" onInput={(event) => setAccount(event.currentTarget.value)} />
      </label>
      <NameField label="What to call this device" value={name} change={setName} />
      <Action act={join}>Ask to join</Action>
      {waitsFor !== null && <p role="status">Asked {fingerprint(waitsFor)}: its person has to say yes there.</p>}
      {consent !== "" && (
        <details>
          <summary>It does not answer? Take the consent there by hand</summary>
          <Qr text={consent} label="This device's consent as a QR code" />
          <CopyField label="For the account's device" text={consent} rows={5} />
        </details>
      )}
    </div>
  );
}

function Restore({ ask }: { ask: Ask }) {
  const [file, setFile] = useState<File | null>(null);
  const [name, setName] = useState("Browser");
  const restore = async (): Promise<void> => {
    if (file === null) throw new Error("Choose the account's backup first, a file that ends with .ccbackup.");
    await ask({ what: "restore", file: new Uint8Array(await file.arrayBuffer()), device: named(name, "this device") });
  };
  return (
    <div class="form">
      <label class="drop">
        <span>Choose the backup</span>
        <input type="file" accept=".ccbackup" onChange={(event) => setFile(event.currentTarget.files?.[0] ?? null)} />
        {file !== null && (
          <b>
            {file.name}, {bytes(file.size)}
          </b>
        )}
      </label>
      <NameField label="What to call this browser" value={name} change={setName} />
      <Action act={restore}>Restore the account</Action>
    </div>
  );
}
