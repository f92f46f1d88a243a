import { useState } from "preact/hooks";
import type { TaskView, TestRun } from "../peer/console";
import { Action } from "../widgets/action";
import { Facts } from "../widgets/facts";
import { bytes, counted, date, duration, fingerprint, share, short } from "../widgets/format";
import { ShareLink } from "../widgets/share_link";
import { languageOf } from "./consent";
import { Fields } from "./publish/fields";
import { EMPTY_FORM, type Form, type FormReading, readForm } from "./publish/draft";
import { TEMPLATES } from "./publish/templates";
import { previewOf } from "./results/preview";
import type { ScreenProps } from "./screen";

type Published = { readonly taskId: string; readonly joinLink: string };

/** Where a creator writes or drops a task, tries a chunk of it here, signs it with this page's key and passes it on. */
export function Publish({ peer }: ScreenProps) {
  const [way, setWay] = useState<"write" | "bundle">("write");
  const [published, setPublished] = useState<Published | null>(null);
  if (published !== null) return <Done published={published} again={() => setPublished(null)} />;
  return (
    <div class="stack">
      <header>
        <h1 tabIndex={-1}>Publish a task</h1>
        <p class="faint">
          The task is signed with the key of this page. Volunteers see that key, and are asked before anything runs.
        </p>
      </header>
      <fieldset class="ways">
        <legend class="unseen">How to make the task</legend>
        <Way name="write" title="Write JavaScript" now={way} choose={setWay} />
        <Way name="bundle" title="Use a bundle file" now={way} choose={setWay} />
      </fieldset>
      {way === "write" ? (
        <Write peer={peer} onPublished={setPublished} />
      ) : (
        <Bundle peer={peer} onPublished={setPublished} />
      )}
    </div>
  );
}

interface WayProps {
  readonly name: "write" | "bundle";
  readonly title: string;
  readonly now: string;
  readonly choose: (way: "write" | "bundle") => void;
}

function Way({ name, title, now, choose }: WayProps) {
  return (
    <label>
      <input type="radio" name="way" value={name} checked={now === name} onChange={() => choose(name)} />
      <span>{title}</span>
    </label>
  );
}

interface MakerProps {
  readonly peer: ScreenProps["peer"];
  readonly onPublished: (published: Published) => void;
}

function Write({ peer, onPublished }: MakerProps) {
  const [form, setForm] = useState<Form>({ ...EMPTY_FORM, cut: TEMPLATES[0]!.cut, source: TEMPLATES[0]!.source });
  // A form is checked as it is typed, but a fault is only shown once somebody asked for something.
  const [isAsked, setIsAsked] = useState(false);
  const reading = readForm(form);
  const draft = (): Extract<FormReading, { kind: "draft" }>["draft"] => {
    setIsAsked(true);
    if (reading.kind === "refused") {
      document.getElementById(`field-${reading.field}`)?.focus();
      throw new Error(reading.sentence);
    }
    return reading.draft;
  };
  return (
    <>
      <Fields
        form={form}
        change={(part) => setForm({ ...form, ...part })}
        fault={isAsked && reading.kind === "refused" ? reading : null}
      />
      <section class="card">
        <h2>Try and publish</h2>
        {reading.kind === "draft" && (
          <p>
            This makes {counted(reading.chunks, "chunk")}, each computed{" "}
            {reading.draft.replication === 1 ? "once" : `by ${reading.draft.replication} devices`}.
          </p>
        )}
        <Try
          run={async (chunk) => peer.ask("testRun", { draft: draft(), chunk })}
          chunks={reading.kind === "draft" ? reading.chunks : 1}
        />
        <Action look="main" act={async () => onPublished(await peer.ask("publishDraft", { draft: draft() }))}>
          Sign and publish
        </Action>
      </section>
    </>
  );
}

function Bundle({ peer, onPublished }: MakerProps) {
  const [bundle, setBundle] = useState<{ bytes: Uint8Array; task: TaskView } | null>(null);
  const [file, setFile] = useState<File | null>(null);
  const read = async (): Promise<void> => {
    if (file === null) throw new Error("Choose a bundle file first: cc-task pack writes one, its name ends in .ccb.");
    const read = new Uint8Array(await file.arrayBuffer());
    setBundle({ bytes: read, task: await peer.ask("readBundle", { bytes: read }) });
  };
  const take = (chosen: File | undefined): void => {
    setBundle(null);
    setFile(chosen ?? null);
  };
  return (
    <section class="card">
      <h2>Bundle file</h2>
      <label
        class="drop"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          take(event.dataTransfer?.files[0]);
        }}
      >
        <span>Drop a .ccb file here, or choose one</span>
        <input type="file" accept=".ccb,.zip" onChange={(event) => take(event.currentTarget.files?.[0])} />
        {file !== null && (
          <b>
            {file.name}, {bytes(file.size)}
          </b>
        )}
      </label>
      <Action act={read}>Read it</Action>
      {bundle !== null && (
        <>
          <h3>{bundle.task.name}</h3>
          {bundle.task.description !== "" && <p class="preserve">{bundle.task.description}</p>}
          <Facts rows={manifestOf(bundle.task)} />
          <Try run={(chunk) => peer.ask("testRun", { bundle: bundle.bytes, chunk })} chunks={bundle.task.chunks} />
          <p>Publishing signs it with the key of this page: the results come here.</p>
          <Action look="main" act={async () => onPublished(await peer.ask("publishBundle", { bytes: bundle.bytes }))}>
            Sign and publish
          </Action>
        </>
      )}
    </section>
  );
}

function manifestOf(task: TaskView): readonly (readonly [string, string])[] {
  return [
    ["Signed by", `${fingerprint(task.creator)}${task.isMine ? " (the key of this page)" : ""}`],
    ["Signature", task.signatureOk ? "correct" : "wrong"],
    ["Code", `${languageOf(task)}, ${bytes(task.codeBytes)}, SHA-256 ${short(task.codeSha256)}`],
    ["Chunks", counted(task.chunks, "chunk")],
    [
      "Limits of a chunk",
      `${bytes(task.memoryBytes)} of memory, ${duration(task.chunkSeconds)}, ${bytes(task.outputBytes)} of result`,
    ],
    ["Each chunk is computed", task.replication === 1 ? "once, with blind checks" : `by ${task.replication} devices`],
    ["Wrong results tolerated", share(task.eps)],
    ["Open until", date(task.expiresS)],
  ];
}

function Try({ run, chunks }: { run: (chunk: number) => Promise<TestRun>; chunks: number }) {
  const [chunk, setChunk] = useState(0);
  const [outcome, setOutcome] = useState<TestRun | null>(null);
  return (
    <div class="try">
      <label class="field">
        <span>Chunk to try</span>
        <input
          type="number"
          min="0"
          max={chunks - 1}
          value={chunk}
          onChange={(event) => setChunk(Math.max(0, Math.min(chunks - 1, event.currentTarget.valueAsNumber || 0)))}
        />
      </label>
      <Action act={async () => setOutcome(await run(chunk))}>Run this chunk here</Action>
      {outcome !== null && (
        <div class="outcome" role="status" data-bad={outcome.status !== "ok"}>
          <b>{outcome.status === "ok" ? `Worked, in ${outcome.seconds.toFixed(2)} s` : OUTCOMES[outcome.status]}</b>
          <p class="key">
            {outcome.status === "ok" ? `${bytes(outcome.bytes.length)}: ${previewOf(outcome.bytes)}` : outcome.detail}
          </p>
        </div>
      )}
    </div>
  );
}

const OUTCOMES = {
  "task error": "The code ended with an error of its own. That is a result too, and volunteers would vote on it:",
  "no result": "No result: the code was stopped, so nobody could vote on it.",
} as const;

function Done({ published, again }: { published: Published; again: () => void }) {
  return (
    <section class="card">
      <h1 tabIndex={-1}>Published</h1>
      <p class="lead">
        Pass this link on. Keep this page open until others have the task: they get it from here, and from each other
        afterwards.
      </p>
      <ShareLink link={published.joinLink} />
      <div class="buttons">
        <a class="button main" href={`/results/${published.taskId}`}>
          See results arrive
        </a>
        <button type="button" onClick={again}>
          Publish another
        </button>
      </div>
    </section>
  );
}
