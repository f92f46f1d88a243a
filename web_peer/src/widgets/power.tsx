import { useEffect, useState } from "preact/hooks";
import type { Console } from "../peer/console";
import { Refusal, useAsking } from "./action";

/** How much of the time this device computes, 10 to 100 percent. Sent when let go, not at every pixel. */
export function Power({ peer, power }: { peer: Console; power: number }) {
  const [shown, setShown] = useState(Math.round(power * 100));
  useEffect(() => setShown(Math.round(power * 100)), [power]);
  const { refusal, asking } = useAsking();
  return (
    <div class="power">
      <label>
        <span class="row">
          <span>Power</span>
          <output>{shown} %</output>
        </span>
        <input
          type="range"
          min="10"
          max="100"
          step="5"
          value={shown}
          aria-valuetext={`${shown} percent of the time`}
          onInput={(event) => setShown(event.currentTarget.valueAsNumber)}
          onChange={(event) => {
            const chosen = event.currentTarget.valueAsNumber / 100;
            void asking(() => peer.ask("changeSettings", { power: chosen }));
          }}
        />
      </label>
      <Refusal sentence={refusal} />
    </div>
  );
}
