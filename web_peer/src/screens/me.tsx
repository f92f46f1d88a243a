import { useEffect, useRef, useState } from "preact/hooks";
import type { CreditView, Happening, Snapshot } from "../peer/console";
import { Action } from "../widgets/action";
import { credits } from "../widgets/credits";
import { ago, bytes, count, date, duration, fingerprint } from "../widgets/format";
import { save } from "../widgets/save";
import { Sparkline } from "../widgets/sparkline";
import { Account } from "./me/account";
import type { ScreenProps } from "./screen";

/** Everything this device did, to look at, to take away and to delete. */
export function Me({ peer, snapshot }: ScreenProps) {
  const [earned, setEarned] = useState<readonly CreditView[]>([]);
  useEffect(() => {
    // What was earned so far: it changes with checkpoints, and is looked at again when the screen is opened again.
    peer.ask("credit", {}).then(setEarned, () => undefined);
  }, [peer]);
  // Whoever comes by an account's code comes for that.
  const [isInvited] = useState(new URLSearchParams(location.hash.slice(1)).has("a"));
  const helped = snapshot.tasks.filter((task) => task.mine.done > 0 || task.mine.outvoted > 0);
  return (
    <div class="stack">
      <header>
        <h1 tabIndex={-1}>My contribution</h1>
        <p class="lead">{thanks(snapshot)}</p>
      </header>
      {isInvited && <Account peer={peer} peerId={snapshot.peerId} />}
      <section class="card">
        <h2>Last 24 hours</h2>
        <Sparkline hours={snapshot.lastDay} />
        <p class="faint row">
          <span>24 h ago</span>
          <span>now</span>
        </p>
      </section>
      <section class="card">
        <h2>Task by task</h2>
        {helped.length === 0 ? (
          <p class="faint">Nothing computed here yet.</p>
        ) : (
          <ul class="plain helped">
            {helped.map(({ taskId, name, mine }) => (
              <li key={taskId}>
                <a href={`/tasks/${taskId}`}>{name}</a>
                <span>
                  {count(mine.done)} done, {count(mine.confirmed)} confirmed, {count(mine.outvoted)} outvoted,{" "}
                  {duration(mine.computeSeconds)} of computing
                </span>
                <Earned credit={earned.find((credit) => credit.taskId === taskId)} />
              </li>
            ))}
          </ul>
        )}
      </section>
      {!isInvited && <Account peer={peer} peerId={snapshot.peerId} />}
      <section class="card">
        <h2>Log</h2>
        <Log happenings={snapshot.happenings} snapshot={snapshot} />
      </section>
      <section class="card">
        <h2>Your data</h2>
        <p>
          This device keeps {bytes(snapshot.storedBytes)}: its key, your account if you have one, your consents and
          settings, the counts above, and the code and records of tasks. Nothing of it tells who you are, unless you gave your account a name; other peers see the key{" "}
          <span class="key">{fingerprint(snapshot.peerId)}</span>.
        </p>
        <div class="buttons">
          <Action act={async () => save(exportOf(snapshot), "crowdcompute-contribution.json")}>Export as JSON</Action>
          <Forget peer={peer} />
        </div>
      </section>
    </div>
  );
}

/** Credit of one task, and its proof to take away. */
function Earned({ credit }: { credit: CreditView | undefined }) {
  if (credit === undefined) return null;
  return (
    <span>
      {credits(credit.millicredits)}{" "}
      <Action act={async () => save(credit.proof, `${credit.taskId.slice(0, 12)}.cccredit`)}>Save the proof</Action>
    </span>
  );
}

function thanks({ total }: Snapshot): string {
  if (total.done === 0)
    return "Nothing computed here yet. Once something is, it is counted here and stays after a reload.";
  return (
    `${count(total.done)} chunks in ${duration(total.computeSeconds)} of computing. ` +
    `${count(total.confirmed)} of them were confirmed by others, ${count(total.outvoted)} were outvoted.`
  );
}

function Log({ happenings, snapshot }: { happenings: readonly Happening[]; snapshot: Snapshot }) {
  if (happenings.length === 0) return <p class="faint">Nothing has happened yet.</p>;
  const nowS = Date.now() / 1000;
  const nameOf = (taskId: string | null): string =>
    taskId === null ? "" : (snapshot.tasks.find((task) => task.taskId === taskId)?.name ?? taskId.slice(0, 8));
  return (
    <ol class="log" tabIndex={0} aria-label="Log, newest first">
      {happenings.toReversed().map((happening, index) => (
        <Entry key={happenings.length - index} happening={happening} nowS={nowS} task={nameOf(happening.taskId)} />
      ))}
    </ol>
  );
}

function Entry({ happening, nowS, task }: { happening: Happening; nowS: number; task: string }) {
  const { atS, what, chunk, peerId, detail } = happening;
  return (
    <li>
      <time dateTime={new Date(atS * 1000).toISOString()} title={date(atS)}>
        {ago(atS, nowS)}
      </time>
      <span>
        {what}
        {task !== "" && `: ${task}`}
        {chunk !== null && `, chunk ${count(chunk)}`}
        {peerId !== null && (
          <>
            {" "}
            · <span class="key">{fingerprint(peerId)}</span>
          </>
        )}
        {detail !== "" && detail !== task && ` · ${detail}`}
      </span>
    </li>
  );
}

function exportOf(snapshot: Snapshot): Blob {
  const { peerId, network, total, lastDay, happenings } = snapshot;
  const tasks = snapshot.tasks.map(({ taskId, name, creator, mine }) => ({ taskId, name, creator, mine }));
  return new Blob([JSON.stringify({ schema: 1, peerId, network, total, lastDay, tasks, happenings }, null, 2)], {
    type: "application/json",
  });
}

/** Deleting cannot be undone, so it is asked twice. */
function Forget({ peer }: { peer: ScreenProps["peer"] }) {
  const dialog = useRef<HTMLDialogElement>(null);
  return (
    <>
      <button type="button" class="danger" onClick={() => dialog.current?.showModal()}>
        Delete my data
      </button>
      <dialog ref={dialog} aria-labelledby="forget-title">
        <h2 id="forget-title">Delete everything?</h2>
        <p>
          Key, account, consents, settings, counts and stored tasks of this device are deleted, and computing stops. An
          account whose key is nowhere else is gone. Tasks you published can no longer be finished from here. This cannot be undone.
        </p>
        <div class="buttons">
          <Action
            look="danger"
            act={async () => {
              await peer.ask("forgetEverything", {});
              // The peer is gone with its key; loading the page makes a new one.
              location.reload();
            }}
          >
            Delete everything
          </Action>
          <button type="button" onClick={() => dialog.current?.close()}>
            Keep it
          </button>
        </div>
      </dialog>
    </>
  );
}
