import { useEffect, useState } from "preact/hooks";
import type { Console, LeaderView, TaskView } from "../../peer/console";
import { counted, fingerprint } from "../../widgets/format";

const SHOWN = 20;

/** Who earned most in a task: accounts by name, and devices that belong to none. */
export function Leaders({ peer, task: { taskId, accepted } }: { peer: Console; task: TaskView }) {
  const [leaders, setLeaders] = useState<readonly LeaderView[]>([]);
  useEffect(() => {
    peer.ask("account", { what: "leaders", taskId }).then((answer) => setLeaders(answer.leaders ?? []), () => undefined);
    // Checkpoints say who earned what, and what is accepted.
  }, [peer, taskId, accepted]);
  if (leaders.length === 0) return null;
  return (
    <section class="card">
      <h2>Who helped most</h2>
      <ol class="leaders">
        {leaders.slice(0, SHOWN).map(({ id, name, millicredits, workers }) => (
          <li key={id}>
            {name === "" ? <span class="key">{fingerprint(id)}</span> : <b>{name}</b>}{" "}
            {(millicredits / 1_000).toLocaleString("en")} credits
            {workers > 1 && `, ${counted(workers, "device")}`}
          </li>
        ))}
      </ol>
    </section>
  );
}
