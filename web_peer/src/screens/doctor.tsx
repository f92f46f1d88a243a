import { useEffect, useState } from "preact/hooks";
import { CopyField } from "../widgets/copy";
import { Icon } from "../widgets/icons";
import { Live } from "../widgets/live";
import { examine, type Finding, PROBES, reportOf } from "./doctor/probes";
import type { ScreenProps } from "./screen";

const SIGNS = { good: "tick", bad: "cross", note: "note" } as const;
const WORDS = { good: "works", bad: "does not work", note: "note" } as const;

/** Tries everything a peer needs, all at once, and says one sentence about each. */
export function Doctor({ peer, snapshot }: ScreenProps) {
  const [findings, setFindings] = useState<ReadonlyMap<string, Finding>>(new Map());
  const [round, setRound] = useState(0);
  useEffect(() => {
    let isOver = false;
    setFindings(new Map());
    for (const probe of PROBES) {
      void examine(probe, peer, snapshot).then((finding) => {
        if (!isOver) setFindings((known) => new Map(known).set(probe.name, finding));
      });
    }
    return () => {
      isOver = true;
    };
    // One round of probes looks at one moment: a newer snapshot must not start it again.
  }, [peer, round]);
  const isDone = findings.size === PROBES.length;
  const wrong = [...findings.values()].filter((finding) => finding.kind === "bad").length;
  const verdict = !isDone
    ? "Trying…"
    : wrong === 0
      ? "Everything needed works."
      : `${wrong} of ${PROBES.length} ${wrong === 1 ? "does" : "do"} not work.`;
  const ordered = PROBES.flatMap(({ name }) => {
    const finding = findings.get(name);
    return finding === undefined ? [] : [[name, finding] as const];
  });
  return (
    <div class="stack">
      <header>
        <h1 tabIndex={-1}>Connection doctor</h1>
        <p class="lead">{verdict}</p>
      </header>
      <ul class="card probes" aria-busy={!isDone}>
        {PROBES.map(({ name }) => {
          const finding = findings.get(name);
          return (
            <li key={name} data-kind={finding?.kind ?? "running"}>
              {finding === undefined ? (
                <span class="spinner" aria-hidden="true" />
              ) : (
                <Icon name={SIGNS[finding.kind]} />
              )}
              <div>
                <b>
                  {name}
                  {finding !== undefined && <span class="unseen">: {WORDS[finding.kind]}</span>}
                </b>
                <p>{finding?.sentence ?? "Trying…"}</p>
              </div>
            </li>
          );
        })}
      </ul>
      <div class="buttons">
        <button type="button" onClick={() => setRound(round + 1)}>
          Try again
        </button>
      </div>
      {isDone && (
        <section class="card">
          <h2>Report</h2>
          <p>To paste where you ask for help. It holds no addresses and no keys.</p>
          <CopyField label="Report" text={reportOf(ordered, navigator.userAgent)} rows={8} />
        </section>
      )}
      <Live text={verdict} />
    </div>
  );
}
