import { useEffect, useRef, useState } from "preact/hooks";
import type { Console, LeaderView } from "../../peer/console";
import { Avatar } from "../../widgets/avatar";
import { credits } from "../../widgets/credits";
import { counted, fingerprint } from "../../widgets/format";

const SHOWN = 20;
/** Adding up every table costs the peer something, and nobody reads faster. */
const EVERY_MS = 3_000;

interface Props {
  readonly peer: Console;
  /** Null for all tasks of this network. */
  readonly taskId: string | null;
  readonly title: string;
  /** It is asked for again when this changes: checkpoints say who earned what, and what is accepted. */
  readonly version: number;
}

/** Who earned most: accounts by name and picture, and devices that belong to none. */
export function Leaders({ peer, taskId, title, version }: Props) {
  const [leaders, setLeaders] = useState<readonly LeaderView[]>([]);
  const askedMs = useRef(-Infinity);
  useEffect(() => {
    const ask = (): void => {
      askedMs.current = performance.now();
      const asked = peer.ask("account", { what: "leaders", taskId });
      asked.then((answer) => setLeaders(answer.leaders ?? []), () => undefined);
    };
    const timer = setTimeout(ask, Math.max(0, askedMs.current + EVERY_MS - performance.now()));
    return () => clearTimeout(timer);
  }, [peer, taskId, version]);
  if (leaders.length === 0) return null;
  return (
    <section class="card">
      <h2>{title}</h2>
      <ol class="leaders">
        {leaders.slice(0, SHOWN).map(({ id, name, picture, millicredits, workers, tasks }) => (
          <li key={id}>
            <span>
              <Avatar id={id} picture={picture} />
              <span>
                {name === "" ? <span class="key">{fingerprint(id)}</span> : <b>{name}</b>} {credits(millicredits)}
                {taskId === null && tasks > 1 && `, ${counted(tasks, "task")}`}
                {workers > 1 && `, ${counted(workers, "device")}`}
              </span>
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
