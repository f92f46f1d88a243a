import { useEffect, useState } from "preact/hooks";
import type { AccountView, Console } from "../../peer/console";
import { Action } from "../../widgets/action";
import { CopyField } from "../../widgets/copy";
import { date, fingerprint } from "../../widgets/format";
import { Qr } from "../../widgets/qr";

/** How soon a person expects to see that the other side has said yes. */
const LOOK_EVERY_MS = 2_000;
const NAME_CHARACTERS_MAX = 40;

/** The account that this device belongs to: one person or lab with many devices. */
export function Account({ peer }: { peer: Console }) {
  const [mine, setMine] = useState<AccountView | null>(null);
  const [consent, setConsent] = useState("");
  const look = async (): Promise<void> => setMine((await peer.ask("account", { what: "look" })).mine ?? null);
  const isWaiting = mine !== null && mine.joined === null;
  useEffect(() => {
    look().catch(() => undefined);
    if (!isWaiting) return undefined;
    const timer = setInterval(() => void look().catch(() => undefined), LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, [peer, isWaiting]);
  const joined = async (account: string, name: string): Promise<void> => {
    setConsent((await peer.ask("account", { what: "join", account, name })).consent ?? "");
    await look();
  };
  return (
    <section class="card">
      <h2>Account</h2>
      {mine?.joined ? <Joined mine={mine.joined} /> : <Join waitsFor={mine?.id ?? null} consent={consent} join={joined} />}
    </section>
  );
}

function Joined({ mine }: { mine: NonNullable<AccountView["joined"]> }) {
  const [picture, setPicture] = useState<string | null>(null);
  useEffect(() => {
    if (mine.avatar === null) return undefined;
    const url = URL.createObjectURL(mine.avatar);
    setPicture(url);
    return () => URL.revokeObjectURL(url);
  }, [mine.avatar]);
  return (
    <>
      <p class="account">
        {picture !== null && <img src={picture} alt="" width={32} height={32} />}
        <b>{mine.name}</b>
      </p>
      <p>{(mine.millicredits / 1_000).toLocaleString("en")} credits, as far as this device knows</p>
      <ul class="plain">
        {mine.devices.map(({ peerId, name, untilS, mayAct, isThis }) => (
          <li key={peerId}>
            {name} <span class="key">{fingerprint(peerId)}</span> {mayAct ? "until" : "ended"} {date(untilS)}
            {isThis && ", this device"}
          </li>
        ))}
      </ul>
    </>
  );
}

interface JoinProps {
  readonly waitsFor: string | null;
  readonly consent: string;
  readonly join: (account: string, name: string) => Promise<void>;
}

function Join({ waitsFor, consent, join }: JoinProps) {
  // The QR code that `cc-node account link` shows leads here, with the account behind the `#`.
  const [account, setAccount] = useState(new URLSearchParams(location.hash.slice(1)).get("a") ?? waitsFor ?? "");
  const [name, setName] = useState("Browser");
  return (
    <>
      <p>
        One person or lab, many devices: credit is counted together. On a machine that has the account's key,{" "}
        <code>cc-node account link --link …</code> shows a code that leads here.
      </p>
      <label class="field">
        Account's id
        <input value={account} onInput={(event) => setAccount(event.currentTarget.value)} />
      </label>
      <label class="field">
        What to call this device
        <input value={name} maxLength={NAME_CHARACTERS_MAX} onInput={(event) => setName(event.currentTarget.value)} />
      </label>
      <Action act={() => join(account, name)}>Ask to join</Action>
      {waitsFor !== null && <p role="status">Asked {fingerprint(waitsFor)}: its person has to say yes there.</p>}
      {consent !== "" && (
        <details>
          <summary>It does not answer? Take the consent there by hand</summary>
          <Qr text={consent} label="This device's consent as a QR code" />
          <CopyField label="For cc-node account link" text={consent} rows={5} />
        </details>
      )}
    </>
  );
}
