import type { CertificateView, Snapshot, TaskView } from "../peer/console";
import { Action } from "../widgets/action";
import { Creator } from "../widgets/creator";
import { Facts } from "../widgets/facts";
import { bytes, count, counted, date, duration, percent, share } from "../widgets/format";
import { lazy } from "../widgets/lazy";
import { Meter } from "../widgets/meter";
import { WorkMap } from "../widgets/work_map";
import { Away } from "./away";
import { languageOf, mayCompute, refusalOf } from "./consent";
import { Join } from "./join";
import { useChunkMarks } from "./marks";
import { joinLink, readJoin } from "./router";
import type { ScreenProps, TaskScreenProps } from "./screen";

const ShareLink = lazy(() => import("../widgets/share_link").then((module) => module.ShareLink));

/** One task: who made it, how it stands, how it is verified, how to pass it on. */
export function Task({ peer, snapshot, taskId }: TaskScreenProps) {
  const task = snapshot.tasks.find((candidate) => candidate.taskId === taskId);
  if (task === undefined) return <Join peer={peer} snapshot={snapshot} linkedTaskId={taskId} />;
  // Somebody who has not answered yet is asked first; the rest of the page stands below the question.
  const isAsked = task.state === "open" && !task.isMine && task.consent.state !== "given";
  return (
    <div class="stack">
      {isAsked ? (
        <Join peer={peer} snapshot={snapshot} linkedTaskId={taskId} />
      ) : (
        <header>
          <h1 tabIndex={-1}>{task.name}</h1>
          {task.description !== "" && <p class="lead preserve">{task.description}</p>}
          <Creator task={task} />
        </header>
      )}
      <div class="columns">
        <Progress peer={peer} snapshot={snapshot} task={task} />
        <Verified task={task} />
        <section class="card">
          <h2>Proof</h2>
          <p>
            {task.signatureOk
              ? "This page checked the creator's Ed25519 signature over exactly these terms: nobody can have changed them."
              : "The signature does not belong to these terms. This device will not run them."}
          </p>
          <Facts rows={proofOf(task)} />
        </section>
        <section class="card">
          <h2>Pass it on</h2>
          <ShareLink link={linkTo(snapshot, task)} />
        </section>
      </div>
    </div>
  );
}

function Progress({ peer, task }: ScreenProps & { task: TaskView }) {
  const marks = useChunkMarks(peer, task);
  return (
    <section class="card work">
      <header class="row">
        <h2>Progress</h2>
        <b class="number">{percent(task.accepted + task.failed, task.chunks)} %</b>
      </header>
      <Meter part={task.accepted + task.failed} whole={task.chunks} label={`Progress of ${task.name}`} />
      <Away peer={peer} task={task} />
      <WorkMap task={task} marks={marks} />
      <p>
        {count(task.accepted)} confirmed, {count(task.failed)} failed,{" "}
        {count(task.chunks - task.accepted - task.failed)} to go of {counted(task.chunks, "chunk")}.{" "}
        {counted(task.workers, "device")} took part.
      </p>
      <p>
        Here: {count(task.mine.done)} done, {count(task.mine.confirmed)} confirmed by others,{" "}
        {count(task.mine.outvoted)} outvoted, {duration(task.mine.computeSeconds)} of computing.
      </p>
      {task.exceeds !== null && <p class="refusal">{refusalOf(task)}</p>}
      <div class="buttons">
        {task.isMine && (
          <a class="button" href={`/results/${task.taskId}`}>
            Results
          </a>
        )}
        {mayCompute(task) && (
          <Action act={() => peer.ask("chooseTask", { taskId: task.taskId, chosen: !task.isChosen })}>
            {task.isChosen ? "Stop working on this" : "Work on this"}
          </Action>
        )}
        {task.consent.state === "given" && task.state === "open" && (
          <Action look="quiet" act={() => peer.ask("consent", { taskId: task.taskId, give: false })}>
            Take my consent back
          </Action>
        )}
      </div>
    </section>
  );
}

function proofOf(task: TaskView): readonly (readonly [string, preact.ComponentChildren])[] {
  const key = (text: string) => <span class="key">{text}</span>;
  return [
    ["Task id", key(task.taskId)],
    ["Creator's key", key(task.creator)],
    [
      "Creator verified",
      task.verified === null ? "by nobody whom this network's link names" : `as ${task.verified.name}, by ${task.verified.by}`,
    ],
    ...(task.permissions.length === 0
      ? []
      : [["Fetches", task.permissions.map((permission) => <div key={permission}>{permission.slice(4)}</div>)] as const]),
    ["Code", `${languageOf(task)}, ${bytes(task.codeBytes)}`],
    ["Code SHA-256", key(task.codeSha256)],
    ["Signed", date(task.createdS)],
    ["Open until", date(task.expiresS)],
    ["Memory", bytes(task.memoryBytes)],
    ["Time for a chunk", duration(task.chunkSeconds)],
    ["Result of a chunk", `at most ${bytes(task.outputBytes)}`],
    [
      "Each chunk is computed",
      task.replication === 1 ? "once, with blind checks" : `by ${task.replication} devices, with blind checks`,
    ],
    ["Wrong results tolerated", share(task.eps)],
  ];
}

function Verified({ task }: { task: TaskView }) {
  const { certificate } = task;
  return (
    <section class="card">
      <h2>Certificate</h2>
      {certificate === null ? (
        <p class="faint">
          The creator signs one when the task is complete. It tells how sure the results are, and why.
        </p>
      ) : (
        <>
          <p class="lead">{assuranceOf(certificate)}</p>
          <Facts
            rows={[
              ["Accepted", counted(certificate.accepted, "chunk")],
              ["Failed", counted(certificate.failed, "chunk")],
              ["Executions", count(certificate.executions)],
              ["Blind checks", `${count(certificate.audits)}, ${count(certificate.mismatches)} of them disagreed`],
              ["Liars found", count(certificate.convicted)],
              ["Root of all results", <span class="key">{certificate.rootSha256}</span>],
            ]}
          />
        </>
      )}
    </section>
  );
}

function assuranceOf({ bound, confidence, eps }: CertificateView): string {
  const asked = bound <= eps ? "" : ` The creator asked for ${share(eps)}, which the checks made do not show yet.`;
  const sure = `${Number((confidence * 100).toPrecision(4))} %`;
  return `With ${sure} confidence, at most ${share(bound)} of the results are wrong.${asked}`;
}

function linkTo(snapshot: Snapshot, task: TaskView): string {
  const reading = readJoin(location.hash);
  const { invite, servers, vouchers } =
    reading.kind === "join" ? reading.join : { invite: null, servers: [], vouchers: [] };
  return joinLink(location.origin, { network: snapshot.network, taskId: task.taskId, invite, servers, vouchers });
}
