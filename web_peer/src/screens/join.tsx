import type { TaskView } from "../peer/console";
import { Action } from "../widgets/action";
import { Creator } from "../widgets/creator";
import { Facts } from "../widgets/facts";
import { Icon } from "../widgets/icons";
import { agree, limitsOf, questionOf, refusalOf } from "./consent";
import { connectionOf } from "./reasons";
import { go } from "./router";
import type { ScreenProps } from "./screen";

interface JoinProps extends ScreenProps {
  readonly linkedTaskId: string | null;
}

/** The card before the first cycle. Opening it computes nothing; only its Start button does. */
export function Join({ peer, snapshot, linkedTaskId }: JoinProps) {
  const question = questionOf(snapshot, linkedTaskId);
  if (question.kind === "ask") return <Card peer={peer} snapshot={snapshot} task={question.task} />;
  return (
    <section class="card centred">
      <h1 tabIndex={-1}>
        {question.kind === "looking" ? "Looking for the task of this link" : "No task asks for help now"}
      </h1>
      <p>
        {question.kind === "looking"
          ? "The peers of this network are being asked for it. It appears here as soon as one of them answers."
          : "When somebody publishes a task in this network it appears here, and you are asked before anything runs."}
      </p>
      <p class="faint">
        Network <b>{snapshot.network}</b>: {connectionOf(snapshot)}.{" "}
        {snapshot.signaling === "unreachable" && snapshot.signalingDetail}
      </p>
      {snapshot.signaling === "unreachable" && (
        <Action act={() => peer.ask("retrySignaling", {})}>Try to connect again</Action>
      )}
      <p class="row">
        <a href="/tasks">All tasks</a> <a href="/publish">Publish a task</a> <a href="/doctor">Connection doctor</a>
      </p>
    </section>
  );
}

function Card({ peer, task }: ScreenProps & { task: TaskView }) {
  const refusal = refusalOf(task);
  const start = async (): Promise<void> => {
    await agree(peer, task.taskId);
    go("/");
  };
  return (
    <section class="card ask" aria-labelledby="ask-title">
      <p class="eyebrow">Somebody asks for the spare time of this device</p>
      <h1 id="ask-title" tabIndex={-1}>
        {task.name}
      </h1>
      {task.description !== "" && <p class="lead preserve">{task.description}</p>}
      {task.link !== "" && (
        <p>
          <a href={task.link} target="_blank" rel="noreferrer noopener">
            Read more at {new URL(task.link).host}
          </a>
        </p>
      )}
      <Facts
        rows={[
          ["Who asks", <Creator task={task} />],
          [
            "What runs",
            <ul class="plain">
              {limitsOf(task).map((limit) => (
                <li key={limit}>{limit}</li>
              ))}
            </ul>,
          ],
        ]}
      />
      {refusal === null && (
        <p class="promise">
          <Icon name="shield" />
          <span>
            <b>No access to your files or network.</b> It runs in a closed box in this tab. Pause stops it, and so does
            closing the tab.
          </span>
        </p>
      )}
      {task.consent.state === "expired" && (
        <p>You agreed to this task before. That was more than 30 days ago, so you are asked again.</p>
      )}
      {refusal === null ? (
        <div class="buttons">
          <Action look="main" act={start}>
            Start
          </Action>
          <a class="button" href="/tasks">
            Choose another task
          </a>
        </div>
      ) : (
        <>
          <p class="refusal">{refusal}</p>
          <a class="button" href="/tasks">
            Choose another task
          </a>
        </>
      )}
      {refusal === null && (
        <p class="faint">
          Start means yes to this task on this device for 30 days; a new version asks again. Computing takes
          electricity: half of the processor's time, unless you change it.
        </p>
      )}
    </section>
  );
}
