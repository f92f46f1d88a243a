import { useState } from "preact/hooks";
import type { EarnedView, HistoryView } from "../../../peer/console";
import { Refusal, useAsking } from "../../../widgets/action";
import { Avatar } from "../../../widgets/avatar";
import { credits } from "../../../widgets/credits";
import { counted, date, fingerprint } from "../../../widgets/format";
import type { Ask } from "../account";

/** What an account has earned, task by task. */
export function Earned({ tasks }: { tasks: readonly EarnedView[] }) {
  if (tasks.length === 0) return null;
  return (
    <ul class="plain earned">
      {tasks.map(({ taskId, name, millicredits }) => (
        <li key={taskId} class="row">
          <a href={`/tasks/${taskId}`}>{name}</a>
          <span>{credits(millicredits)}</span>
        </li>
      ))}
    </ul>
  );
}

/** Somebody's history, checked on this device: every signature of the account and of the tasks' creators. */
export function CheckHistory({ ask }: { ask: Ask }) {
  const [found, setFound] = useState<HistoryView | null>(null);
  const { refusal, asking } = useAsking();
  const check = async (file: File): Promise<void> => {
    setFound(null);
    const { history } = await ask({ what: "check", file: new Uint8Array(await file.arrayBuffer()) });
    setFound(history ?? null);
  };
  return (
    <details>
      <summary>Check somebody's history</summary>
      <label class="drop">
        <span>Choose a .cchistory</span>
        <input
          type="file"
          accept=".cchistory"
          onChange={(event) => {
            const file = event.currentTarget.files?.[0];
            if (file !== undefined) void asking(() => check(file));
          }}
        />
      </label>
      <Refusal sentence={refusal} />
      {found !== null && (
        <div role="status" class="stack">
          <p class="account">
            <Avatar id={found.id} picture={found.picture} />
            <span>
              <b>{found.name}</b> <span class="key">{fingerprint(found.id)}</span>
            </span>
          </p>
          <p>
            Every signature is right: {credits(found.tasks.reduce((sum, { millicredits }) => sum + millicredits, 0))} in{" "}
            {counted(found.tasks.length, "task")}, as of {date(found.madeS)}.
          </p>
          <Earned tasks={found.tasks} />
        </div>
      )}
    </details>
  );
}
