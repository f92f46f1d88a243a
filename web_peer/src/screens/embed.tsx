import { useEffect } from "preact/hooks";
import type { TaskView } from "../peer/console";
import { BadgeFace, type FaceState } from "../widgets/badge_face";
import { agree, canStart, questionOf, refusalOf } from "./consent";
import { connectionOf, isOn, reasonOf } from "./reasons";
import { joinFragment } from "./router";
import type { ScreenProps } from "./screen";

interface EmbedProps extends ScreenProps {
  readonly linkedTaskId: string | null;
}

/** The badge: the whole of a peer in 320 by 240 pixels on somebody else's page, off until a visitor says otherwise. */
export function Embed({ peer, snapshot, linkedTaskId }: EmbedProps) {
  const query = new URLSearchParams(location.search);
  const theme = query.get("theme");
  useEffect(() => {
    if (theme === "light" || theme === "dark") document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  const limit = Math.min(100, Math.max(10, Number(query.get("limit")) || 50)) / 100;
  const question = questionOf(snapshot, linkedTaskId);
  const asked = question.kind === "ask" && question.task.consent.state !== "given" ? question.task : null;
  const today = snapshot.lastDay.reduce((sum, hour) => sum + hour, 0);
  const start = async (): Promise<void> => {
    await peer.ask("changeSettings", { power: Math.min(limit, snapshot.settings.power) });
    await (asked === null ? peer.ask("start", {}) : agree(peer, asked.taskId));
  };
  return (
    <main class="badge">
      <BadgeFace
        state={isOn(snapshot) ? { kind: "on", reason: reasonOf(snapshot) } : faceOf(asked, canStart(snapshot))}
        today={today}
        connection={connectionOf(snapshot)}
        about={`/about${joinFragment({ network: snapshot.network, taskId: null, invite: null, servers: [], vouchers: [] })}`}
        start={start}
        pause={() => peer.ask("pause", {})}
      />
    </main>
  );
}

function faceOf(asked: TaskView | null, isStartable: boolean): FaceState {
  if (asked === null) return isStartable ? { kind: "off" } : { kind: "idle", sentence: "No task asks for help now." };
  const refusal = refusalOf(asked);
  return refusal === null
    ? { kind: "asks", name: asked.name, creator: asked.creator }
    : { kind: "idle", sentence: refusal };
}
