import type { Console, TaskView } from "../peer/console";
import { Action } from "../widgets/action";
import { Creator } from "../widgets/creator";
import { count, percent } from "../widgets/format";
import { Meter } from "../widgets/meter";
import { mayCompute, refusalOf } from "./consent";
import { Leaders } from "./results/leaders";
import type { ScreenProps } from "./screen";

/** All tasks this device knows of, the open ones first; here a person chooses what to work on. */
export function Tasks({ peer, snapshot }: ScreenProps) {
  const open = snapshot.tasks.filter((task) => task.state === "open");
  const over = snapshot.tasks.filter((task) => task.state !== "open");
  const accepted = snapshot.tasks.reduce((sum, task) => sum + task.accepted, 0);
  return (
    <div class="stack">
      <header>
        <h1 tabIndex={-1}>Tasks</h1>
        <p class="faint">
          What the peers of network {snapshot.network} are working on. Nothing runs until you agree to it.
        </p>
      </header>
      <h2>Open</h2>
      {open.length === 0 && (
        <section class="card">
          <p>
            No open task is known here yet. They arrive from other peers, or you can <a href="/publish">publish one</a>.
          </p>
        </section>
      )}
      <ul class="cards">
        {open.map((task) => (
          <Row key={task.taskId} peer={peer} task={task} />
        ))}
      </ul>
      {over.length > 0 && (
        <>
          <h2>Over</h2>
          <ul class="cards">
            {over.map((task) => (
              <Row key={task.taskId} peer={peer} task={task} />
            ))}
          </ul>
        </>
      )}
      <Leaders peer={peer} taskId={null} title="Who helped most here" version={accepted} />
    </div>
  );
}

function Row({ peer, task }: { peer: Console; task: TaskView }) {
  const refusal = refusalOf(task);
  return (
    <li class="card">
      <header class="row">
        <h3>
          <a href={`/tasks/${task.taskId}`}>{task.name}</a>
        </h3>
        {task.isChosen && <span class="tag">chosen</span>}
      </header>
      {task.description !== "" && <p class="clamped">{task.description}</p>}
      <Creator task={task} />
      <Meter part={task.accepted + task.failed} whole={task.chunks} label={`Progress of ${task.name}`} />
      <p class="faint">
        {percent(task.accepted + task.failed, task.chunks)} % of {count(task.chunks)} chunks
      </p>
      {refusal !== null ? (
        <p class="faint">{refusal}</p>
      ) : mayCompute(task) ? (
        <Action act={() => peer.ask("chooseTask", { taskId: task.taskId, chosen: !task.isChosen })}>
          {task.isChosen ? "Stop working on this" : "Work on this"}
        </Action>
      ) : (
        <a class="button" href={`/tasks/${task.taskId}`}>
          {task.isMine ? "Look at it" : "Look at it and decide"}
        </a>
      )}
    </li>
  );
}
