import { useEffect, useRef, useState } from "preact/hooks";
import type { AccountAnswer, AccountAsk, AccountView, Console } from "../../peer/console";
import { CheckHistory } from "./account/earned";
import { Member } from "./account/member";
import { Newcomer } from "./account/newcomer";

/** How soon a person expects to see that the other side has said yes. */
const LOOK_EVERY_MS = 2_000;

/** Ask the peer about accounts; what changed ours is shown. */
export type Ask = (asked: AccountAsk) => Promise<AccountAnswer>;

/** The account that this device belongs to: one person or lab with many devices. */
export function Account({ peer, peerId }: { peer: Console; peerId: string }) {
  const [mine, setMine] = useState<AccountView | null>(null);
  const [untold, setUntold] = useState("");
  const heading = useRef<HTMLHeadingElement>(null);
  const ask: Ask = async (asked) => {
    const answer = await peer.ask("account", asked);
    if (answer.mine !== undefined) setMine(answer.mine);
    if (answer.untold !== undefined) setUntold(answer.untold);
    return answer;
  };
  const isWaiting = mine !== null && mine.joined === null;
  useEffect(() => {
    const look = (): void => void ask({ what: "look" }).catch(() => undefined);
    look();
    if (!isWaiting) return undefined;
    const timer = setInterval(look, LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, [peer, isWaiting]);
  const isMember = mine?.joined != null;
  const wasMember = useRef(isMember);
  useEffect(() => {
    // The button that was pressed is gone with the form around it: keyboards go on from the top of what came instead.
    if (wasMember.current !== isMember && document.activeElement === document.body) heading.current?.focus();
    wasMember.current = isMember;
  }, [isMember]);
  return (
    <section class="card">
      <h2 ref={heading} tabIndex={-1}>
        Account
      </h2>
      {mine?.joined != null ? (
        <Member ask={ask} id={mine.id} mine={mine.joined} />
      ) : (
        <Newcomer ask={ask} waitsFor={mine?.id ?? null} peerId={peerId} />
      )}
      {mine !== null && untold !== "" && (
        <p role="status" class="refusal">
          {untold}
        </p>
      )}
      <CheckHistory ask={ask} />
    </section>
  );
}
