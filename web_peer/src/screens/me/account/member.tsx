import { useRef, useState } from "preact/hooks";
import type { AccountView } from "../../../peer/console";
import { Action } from "../../../widgets/action";
import { Avatar } from "../../../widgets/avatar";
import { credits } from "../../../widgets/credits";
import { date, fingerprint } from "../../../widgets/format";
import { save } from "../../../widgets/save";
import type { Ask } from "../account";
import { Earned } from "./earned";
import { named, NameField, PictureField } from "./fields";
import { Linking } from "./linking";

type Joined = NonNullable<AccountView["joined"]>;

/** A device is renewed from so long before its end. */
const RENEW_WITHIN_S = 60 * 86_400;

interface Props {
  readonly ask: Ask;
  readonly id: string;
  readonly mine: Joined;
}

/** The account that this device belongs to; where its key is here, with all that its person may do. */
export function Member({ ask, id, mine }: Props) {
  const [doing, setDoing] = useState<"nothing" | "linking" | "changing">("nothing");
  const done = (): void => setDoing("nothing");
  const toggle = (what: "linking" | "changing"): void => setDoing(doing === what ? "nothing" : what);
  return (
    <>
      <p class="account">
        <Avatar id={id} picture={mine.picture} size={48} />
        <span>
          <b>{mine.name}</b>
          <br />
          <span class="key">{fingerprint(id)}</span>
        </span>
      </p>
      {mine.hasBackup && <Backup ask={ask} name={mine.name} />}
      <h3>Devices</h3>
      <ul class="plain devices">
        {mine.devices.map((device) => (
          <Device key={device.peerId} ask={ask} device={device} speaks={mine.speaks} />
        ))}
      </ul>
      {mine.speaks ? (
        <>
          <div class="buttons">
            <button type="button" aria-expanded={doing === "linking"} onClick={() => toggle("linking")}>
              Link another device
            </button>
            <button type="button" aria-expanded={doing === "changing"} onClick={() => toggle("changing")}>
              Change name or picture
            </button>
          </div>
          {doing === "linking" && <Linking ask={ask} account={id} onLinked={done} />}
          {doing === "changing" && <Profile ask={ask} id={id} mine={mine} onChanged={done} />}
        </>
      ) : (
        <p class="faint">The account's key is on another device: name, picture and devices are changed there.</p>
      )}
      <h3>Contribution history</h3>
      <p>
        {credits(mine.millicredits)}, by all of its devices, as far as this one knows. A device that was ended earns for
        itself in tasks made since.
      </p>
      <Earned tasks={mine.tasks} />
      <div class="buttons">
        {mine.speaks && mine.tasks.length > 0 && (
          <Action act={async () => save((await ask({ what: "history" })).file!, `${fileName(mine.name)}.cchistory`)}>
            Save it, signed
          </Action>
        )}
        <LogOut ask={ask} mine={mine} />
      </div>
    </>
  );
}

function fileName(name: string): string {
  return name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "account";
}

/** Until the person says that it is saved: after that nobody can read the key out of this browser. */
function Backup({ ask, name }: { ask: Ask; name: string }) {
  const [isSaved, setSaved] = useState(false);
  const keep = async (): Promise<void> => {
    save((await ask({ what: "backup" })).file!, `${fileName(name)}.ccbackup`);
    setSaved(true);
  };
  return (
    <div class="asking">
      <p>
        <b>Save a backup now.</b> It brings the account back when this browser loses its data, and whoever has it is the
        account: keep it where nobody else comes. Once you say that you have it, this browser can make no other one.
      </p>
      <div class="buttons">
        <Action look="main" act={keep}>
          Save the backup
        </Action>
        <Action disabled={!isSaved} act={() => ask({ what: "saved" })}>
          I have it
        </Action>
      </div>
    </div>
  );
}

function Device({ ask, device, speaks }: { ask: Ask; device: Joined["devices"][number]; speaks: boolean }) {
  const { peerId, name, untilS, mayAct, isThis } = device;
  const isRenewable = speaks && untilS - Date.now() / 1_000 < RENEW_WITHIN_S;
  const isRevocable = speaks && mayAct && !isThis;
  return (
    <li>
      <span>
        {name} <span class="key">{fingerprint(peerId)}</span> {mayAct ? "until" : "ended"} {date(untilS)}
        {isThis && ", this device"}
      </span>
      {(isRenewable || isRevocable) && (
        <span class="buttons">
          {isRenewable && <Action act={() => ask({ what: "renew", peerId })}>Renew {name}</Action>}
          {isRevocable && <Action act={() => ask({ what: "revoke", peerId })}>Revoke {name}</Action>}
        </span>
      )}
    </li>
  );
}

function Profile({ ask, id, mine, onChanged }: Props & { onChanged: () => void }) {
  const [name, setName] = useState(mine.name);
  const [picture, setPicture] = useState<Uint8Array | null>(null);
  const change = async (): Promise<void> => {
    await ask({ what: "profile", name: named(name, "the account"), picture });
    onChanged();
  };
  return (
    <div class="form">
      <NameField label="Name to show" value={name} change={setName} />
      <PictureField id={id} shown={mine.picture} change={setPicture} />
      <Action act={change}>Save</Action>
    </div>
  );
}

/** What cannot be undone without the backup is asked twice. */
function LogOut({ ask, mine }: { ask: Ask; mine: Joined }) {
  const dialog = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button type="button" class="danger" onClick={() => dialog.current?.showModal()}>
        Log out
      </button>
      <dialog ref={dialog} aria-labelledby="log-out-title">
        <h2 id="log-out-title">Log out of {mine.name}?</h2>
        <p>
          {mine.speaks
            ? "This browser forgets the account's key and acts for it no longer. Only its backup, or another browser or machine that has the key, speaks for the account then."
            : "This browser forgets the account. What it computes is counted for the account until its person revokes this device there."}
        </p>
        <div class="buttons">
          <Action look="danger" act={() => ask({ what: "leave" })}>
            Log out
          </Action>
          <button type="button" onClick={() => dialog.current?.close()}>
            Stay
          </button>
        </div>
      </dialog>
    </>
  );
}
