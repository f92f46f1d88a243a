import { useEffect, useState } from "preact/hooks";
import type { JoiningView } from "../../../peer/console";
import { Action } from "../../../widgets/action";
import { CopyField } from "../../../widgets/copy";
import { fingerprint } from "../../../widgets/format";
import { Qr } from "../../../widgets/qr";
import { keptFragment } from "../../router";
import type { Ask } from "../account";

/** How soon a person expects to see that the other device has asked. */
const LOOK_EVERY_MS = 2_000;

/** Where a device asks to join: this network, with the account behind it. */
export function linkAddress(account: string): string {
  const kept = keptFragment(location.hash);
  return `${location.origin}/me${kept === "" ? "#" : `${kept}&`}a=${account}`;
}

/** Show another device the way here, and ask about each that comes. */
export function Linking({ ask, account, onLinked }: { ask: Ask; account: string; onLinked: () => void }) {
  const [waiting, setWaiting] = useState<readonly JoiningView[]>([]);
  const [refused, setRefused] = useState<ReadonlySet<string>>(new Set());
  const [pasted, setPasted] = useState("");
  useEffect(() => {
    const look = (): void => void ask({ what: "waiting" }).then((answer) => setWaiting(answer.waiting ?? []), () => undefined);
    look();
    const timer = setInterval(look, LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, []);
  const link = async (consent: Uint8Array | string): Promise<void> => {
    await ask({ what: "link", consent });
    onLinked();
  };
  const address = linkAddress(account);
  return (
    <div class="form">
      <p>
        Point the other device's camera at this code, or open the address there. A machine without a screen asks by{" "}
        <code>cc-node account join ADDRESS</code>.
      </p>
      <Qr text={address} label="Where another device joins this account, as a QR code" />
      <CopyField label="Address" text={address} rows={4} />
      <div role="status">
        {waiting
          .filter(({ peerId }) => !refused.has(peerId))
          .map(({ peerId, name, consent }) => (
            <div key={peerId} class="asking">
              <p>
                <b>{name}</b> <span class="key">{fingerprint(peerId)}</span> wants to join. Is it yours?
              </p>
              <div class="buttons">
                <Action look="main" act={() => link(consent)}>
                  Yes, link it
                </Action>
                <button type="button" onClick={() => setRefused(new Set([...refused, peerId]))}>
                  No
                </button>
              </div>
            </div>
          ))}
      </div>
      <details>
        <summary>It cannot reach this server? Paste its consent</summary>
        <label class="field">
          Consent, which begins with ccjoin:
          <textarea rows={4} value={pasted} spellcheck={false} onInput={(event) => setPasted(event.currentTarget.value)} />
        </label>
        <Action act={() => link(pasted)}>Link that device</Action>
      </details>
    </div>
  );
}
