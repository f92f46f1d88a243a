import { useEffect } from "preact/hooks";
import type { Console, Snapshot, TaskView } from "../peer/console";
import { Action, Refusal, useAsking } from "../widgets/action";
import { count, counted, duration, percent } from "../widgets/format";
import { Icon } from "../widgets/icons";
import { lazy } from "../widgets/lazy";
import { Live } from "../widgets/live";
import { Meter } from "../widgets/meter";
import { Power } from "../widgets/power";
import { Sparkline } from "../widgets/sparkline";
import { WorkMap } from "../widgets/work_map";
import { canStart } from "./consent";
import { useChunkMarks } from "./marks";
import { connectionOf, isOn, reasonOf } from "./reasons";
import type { ScreenProps } from "./screen";

const Picture = lazy(() => import("./results/picture").then((module) => module.Picture));

/** The screen a volunteer leaves open: one button, the picture filling in, what this device did. */
export function Computing({ peer, snapshot }: ScreenProps) {
  const shown = snapshot.tasks.filter((task) => task.isChosen || (task.isMine && task.state === "open"));
  const isComputing = isOn(snapshot);
  const { refusal, asking } = useAsking();
  const toggle = (): void => void asking(() => peer.ask(isComputing ? "pause" : "start", {}));
  useSpaceBar(toggle);
  const news = `${reasonOf(snapshot)} ${counted(snapshot.total.done, "chunk")} done here.`;
  return (
    <>
      {snapshot.signaling === "unreachable" && <ServerGone peer={peer} snapshot={snapshot} />}
      <div class="computing">
        <section class="card control" aria-labelledby="state">
          <h1 id="state" tabIndex={-1} class="state" data-mode={snapshot.mode}>
            {isComputing && snapshot.mode === "paused" ? HEADLINES.waiting : HEADLINES[snapshot.mode]}
          </h1>
          <p class="reason">{reasonOf(snapshot)}</p>
          {isComputing || canStart(snapshot) ? (
            <button type="button" class="big" data-on={isComputing} onClick={toggle}>
              <Icon name={isComputing ? "pause" : "play"} filled={!isComputing} />
              {isComputing ? "Pause" : "Start"}
            </button>
          ) : (
            <a class="button big" href="/tasks">
              <Icon name="tasks" />
              Choose a task
            </a>
          )}
          <Refusal sentence={refusal} />
          <p class="faint hint">or press the space bar</p>
          {snapshot.mode === "running" && (
            <Action look="quiet" act={() => peer.ask("finish", {})}>
              Finish, then pause
            </Action>
          )}
          <Power peer={peer} power={snapshot.settings.power} />
        </section>

        <div class="pictures">
          {shown.map((task) => (
            <Work key={task.taskId} peer={peer} task={task} />
          ))}
          {shown.length === 0 && (
            <section class="card">
              <h2>No task chosen</h2>
              <p>
                <a href="/tasks">Choose a task</a> and its picture fills in here.
              </p>
            </section>
          )}
        </div>

        <Numbers snapshot={snapshot} />
        <Live text={news} />
      </div>
    </>
  );
}

const HEADLINES = {
  off: "Off",
  waiting: "Waiting",
  running: "Computing",
  paused: "Paused",
  finishing: "Finishing",
} as const;

function Work({ peer, task }: { peer: Console; task: TaskView }) {
  const marks = useChunkMarks(peer, task);
  return (
    <section class="card work">
      <header class="row">
        <h2>
          <a href={`/tasks/${task.taskId}`}>{task.name}</a>
        </h2>
        <b class="number">{percent(task.accepted + task.failed, task.chunks)} %</b>
      </header>
      <Meter part={task.accepted + task.failed} whole={task.chunks} label={`Progress of ${task.name}`} />
      {task.isMine && task.grid !== null ? (
        <Picture peer={peer} task={task} marks={marks} />
      ) : (
        <WorkMap task={task} marks={marks} />
      )}
      <p class="faint">
        {count(task.accepted)} of {count(task.chunks)} chunks confirmed, {counted(task.workers, "device")} took part.{" "}
        {task.mine.done === 0
          ? "None of them computed here yet."
          : `${counted(task.mine.done, "chunk")} computed here.`}
      </p>
    </section>
  );
}

/** Work goes on without the server, so this only explains what may look odd: nobody new comes. */
function ServerGone({ peer, snapshot }: ScreenProps) {
  return (
    <div role="status" class="missing row">
      <span>
        The server that introduces peers does not answer
        {snapshot.signalingDetail !== "" && ` (${snapshot.signalingDetail})`}.{" "}
        {snapshot.peers.some(({ state }) => state === "open")
          ? "Work goes on with the peers connected; who is new has to wait."
          : "No peer is connected either: work done now is handed on when one is."}
      </span>
      <Action look="quiet" act={() => peer.ask("retrySignaling", {})}>
        Try now
      </Action>
    </div>
  );
}

function Numbers({ snapshot }: { snapshot: Snapshot }) {
  const { total } = snapshot;
  const today = snapshot.lastDay.reduce((sum, hour) => sum + hour, 0);
  return (
    <section class="card numbers" aria-labelledby="numbers">
      <h2 id="numbers">This device</h2>
      <dl class="stats">
        <Stat name="chunks done" value={count(total.done)} />
        <Stat name="confirmed" value={count(total.confirmed)} />
        <Stat name="outvoted" value={count(total.outvoted)} isBad={total.outvoted > 0} />
        <Stat name="computing time" value={duration(total.computeSeconds)} />
        <Stat name="connections" value={connectionOf(snapshot)} />
        <Stat name="chunks in 24 hours" value={count(today)} />
      </dl>
      <Sparkline hours={snapshot.lastDay} />
      <p class="faint row">
        <span>24 h ago</span>
        <span>now</span>
      </p>
    </section>
  );
}

function Stat({ name, value, isBad = false }: { name: string; value: string; isBad?: boolean }) {
  return (
    <div data-bad={isBad}>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

/** The space bar presses the big button, unless it already means something where the focus is. */
function useSpaceBar(press: () => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      const isTaken =
        event.target instanceof Element && event.target.closest("button, a, input, textarea, select, summary");
      if (event.key !== " " || event.repeat || isTaken || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      press();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  });
}
