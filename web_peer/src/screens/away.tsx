import { useEffect, useState } from "preact/hooks";
import type { AwayView, Console, TaskView } from "../peer/console";
import { count, counted, date } from "../widgets/format";

/** Counting all votes again takes some milliseconds, and what it says changes once an epoch. */
const EVERY_MS = 3_000;

/** While a task's creator is away: what its results are worth until it is back. Nothing while it is there. */
export function Away({ peer, task }: { peer: Console; task: TaskView }) {
  const { taskId } = task;
  const [away, setAway] = useState<AwayView | null>(null);
  useEffect(() => {
    let isOver = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const look = async (): Promise<void> => {
      const answer = await peer.ask("away", { taskId }).catch(() => null);
      if (isOver) return;
      setAway(answer);
      timer = setTimeout(() => void look(), EVERY_MS);
    };
    setAway(null);
    void look();
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [peer, taskId]);
  if (away === null) return null;
  const { headline, meaning, more } = awayWords(away, task);
  return (
    <aside class="away">
      <p>
        <b>{headline}</b>
      </p>
      <p>{meaning}</p>
      {more !== "" && <p class="faint">{more}</p>}
    </aside>
  );
}

/** What to say of it. */
export function awayWords(
  { sinceS, provisional, bySteward, sealed, disputed, credibility, liarsFound }: AwayView,
  { chunks }: Pick<TaskView, "chunks">,
): { readonly headline: string; readonly meaning: string; readonly more: string } {
  const known = provisional + bySteward;
  const since = `creator away since ${date(sinceS)}`;
  const headline = `Provisional: ${count(known)} of ${count(chunks)}, ${since}.`;
  const sure =
    credibility === null ? "" : ` Each of them is right with a probability of ${percentOf(credibility)} at least.`;
  const byLot =
    "Devices drawn by lot have confirmed each other's results, so they are probably right, but not yet final." + sure;
  const byHand = `${bySteward === known ? "They were" : `${count(bySteward)} of them were`} settled by a steward, whom the creator lets act for it.`;
  const meaning = [
    known === 0 ? "Results are computed and kept, and nobody has confirmed any yet." : "",
    provisional > 0 ? byLot : "",
    bySteward > 0 ? byHand : "",
    "When the creator is back it opens all votes, checks them and signs what is final. Nothing is lost until then.",
  ];
  const more = [
    sealed > 0 ? `${counted(sealed, "chunk")} wait for a second vote` : "",
    disputed > 0 ? `${counted(disputed, "chunk")} in dispute` : "",
    liarsFound > 0 ? `${counted(liarsFound, "device")} found to lie` : "",
  ].filter((part) => part !== "");
  return {
    headline,
    meaning: meaning.filter((part) => part !== "").join(" "),
    more: more.length === 0 ? "" : `${more.join(", ")}.`,
  };
}

/** Rounded down: what is not certain does not become so. */
function percentOf(probability: number): string {
  return `${Math.floor(probability * 10_000) / 100} %`;
}
