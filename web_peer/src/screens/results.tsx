import { useEffect, useState } from "preact/hooks";
import type { ChunkMark, ChunkResult, Console, TaskView } from "../peer/console";
import { Action, sentence } from "../widgets/action";
import { count, counted, fingerprint, percent, short } from "../widgets/format";
import { Live } from "../widgets/live";
import { Meter } from "../widgets/meter";
import { save } from "../widgets/save";
import { Away } from "./away";
import { useChunkMarks } from "./marks";
import { Evidence } from "./results/evidence";
import { Leaders } from "./results/leaders";
import { Picture } from "./results/picture";
import { previewOf } from "./results/preview";
import type { TaskScreenProps } from "./screen";

const ROWS = 25;

/** What came out, as it is verified: a picture if the results are pixels, a table with everybody's votes, a file. */
export function Results({ peer, snapshot, taskId }: TaskScreenProps) {
  const task = snapshot.tasks.find((candidate) => candidate.taskId === taskId);
  if (task === undefined) {
    return (
      <section class="card centred">
        <h1 tabIndex={-1}>This task is not known here</h1>
        <p>
          Its records may still be on their way from other peers. <a href="/tasks">All tasks</a>
        </p>
      </section>
    );
  }
  return <Known peer={peer} task={task} />;
}

function Known({ peer, task }: { peer: Console; task: TaskView }) {
  const marks = useChunkMarks(peer, task);
  const done = task.accepted + task.failed;
  return (
    <div class="stack">
      <header>
        <h1 tabIndex={-1}>Results of {task.name}</h1>
        <p class="faint">
          {counted(task.accepted, "chunk")} verified, {count(task.failed)} failed, {count(task.chunks - done)} to go.
        </p>
        <Meter part={done} whole={task.chunks} label="Verified" />
        <Away peer={peer} task={task} />
      </header>
      {task.isMine ? (
        <Ours peer={peer} task={task} marks={marks} />
      ) : (
        <section class="card">
          <p>Another key made this task, and results are sealed for it. Its creator sees them on this screen.</p>
          <p>
            <a href={`/tasks/${task.taskId}`}>Task, proof and certificate</a>
          </p>
        </section>
      )}
      <Leaders peer={peer} taskId={task.taskId} title="Who helped most" version={task.accepted} />
      <Evidence />
      <Live text={`${percent(done, task.chunks)} percent verified.`} />
    </div>
  );
}

function short12({ taskId }: TaskView): string {
  return taskId.slice(0, 12);
}

interface OursProps {
  readonly peer: Console;
  readonly task: TaskView;
  readonly marks: readonly ChunkMark[];
}

function Ours({ peer, task, marks }: OursProps) {
  return (
    <>
      <div class="columns">
        {task.grid !== null && (
          <section class="card">
            <h2>Picture</h2>
            <Picture peer={peer} task={task} marks={marks} />
          </section>
        )}
        <section class="card">
          <h2>Take them away</h2>
          <p>One JSON line for each verified chunk: its number, its result in base64, who voted for it.</p>
          <Action
            act={async () =>
              save(await peer.ask("exportResults", { taskId: task.taskId }), `${short12(task)}.ndjson`)
            }
          >
            Download NDJSON
          </Action>
          {task.certificate !== null && (
            <>
              <p>The records behind the certificate, with every vote opened: whoever has them can count again.</p>
              <Action
                act={async () => save(await peer.ask("exportEvidence", { taskId: task.taskId }), `${short12(task)}.ccr`)}
              >
                Download the evidence
              </Action>
            </>
          )}
          <p>
            <a href={`/tasks/${task.taskId}`}>Task, proof and certificate</a>
          </p>
        </section>
      </div>
      <Table peer={peer} task={task} marks={marks} />
    </>
  );
}

function Table({ peer, task, marks }: OursProps) {
  const [page, setPage] = useState(0);
  const known = marks.filter((mark) => mark.state !== "begun").sort((a, b) => a.chunk - b.chunk);
  const pages = Math.max(1, Math.ceil(known.length / ROWS));
  const shown = known.slice(page * ROWS, (page + 1) * ROWS);
  return (
    <section class="card">
      <h2>Chunk by chunk</h2>
      {known.length === 0 ? (
        <p class="faint">Nothing has come back yet.</p>
      ) : (
        <ol class="chunks">
          {shown.map((mark) => (
            <Chunk key={mark.chunk} peer={peer} task={task} mark={mark} />
          ))}
        </ol>
      )}
      {pages > 1 && (
        <nav class="row" aria-label="Pages of chunks">
          <button type="button" disabled={page === 0} onClick={() => setPage(page - 1)}>
            Earlier
          </button>
          <span>
            {page + 1} of {pages}
          </span>
          <button type="button" disabled={page + 1 >= pages} onClick={() => setPage(page + 1)}>
            Later
          </button>
        </nav>
      )}
    </section>
  );
}

function Chunk({ peer, task, mark }: { peer: Console; task: TaskView; mark: ChunkMark }) {
  const { taskId } = task;
  const { chunk } = mark;
  const [result, setResult] = useState<ChunkResult | string | null>(null);
  const known = typeof result === "string" ? null : result;
  // Until it is verified, everything that is verified elsewhere may have brought a vote here.
  const version = known?.state === "accepted" ? "accepted" : `${mark.state} ${task.accepted}`;
  useEffect(() => {
    let isOver = false;
    peer
      .ask("chunkResult", { taskId, chunk })
      .catch(sentence)
      .then((answer) => {
        if (!isOver) setResult(answer);
      });
    return () => {
      isOver = true;
    };
  }, [peer, taskId, chunk, version]);
  const votes = known?.votes ?? [];
  const isSettled = known?.state === "accepted";
  const against = isSettled ? votes.filter((vote) => !vote.agrees).length : 0;
  return (
    <li>
      <details>
        <summary>
          <b>{count(chunk)}</b>
          <span class="key clamped">{readable(result)}</span>
          <span class="verdict" data-bad={known?.state === "failed" || against > 0}>
            {verdictOf(known, against)}
          </span>
        </summary>
        {known !== null && known.detail !== "" && <p>{known.detail}</p>}
        <ul class="votes">
          {votes.map((vote) => (
            <li key={vote.worker} data-bad={isSettled && !vote.agrees}>
              <span class="key" title={vote.worker}>
                {fingerprint(vote.worker)}
              </span>
              <span class="key" title={vote.resultSha256}>
                {short(vote.resultSha256)}
              </span>
              <span>{!isSettled ? "not settled yet" : vote.agrees ? "agrees" : "disagrees"}</span>
            </li>
          ))}
          {votes.length === 0 && <li>No vote is known here.</li>}
        </ul>
      </details>
    </li>
  );
}

function verdictOf(result: ChunkResult | null, against: number): string {
  if (result === null) return "";
  if (result.state === "failed") return "failed";
  if (result.state !== "accepted") return `not verified yet, ${counted(result.votes.length, "vote")}`;
  return against > 0 ? `verified, ${against} disagreed` : "verified";
}

function readable(result: ChunkResult | string | null): string {
  if (result === null) return "…";
  if (typeof result === "string") return result;
  return result.bytes === null ? "not here" : previewOf(result.bytes);
}
