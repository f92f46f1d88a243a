import type { ComponentChildren } from "preact";
import type { Console, Settings as Values } from "../peer/console";
import { Refusal, useAsking } from "../widgets/action";
import { Facts } from "../widgets/facts";
import { bytes, counted } from "../widgets/format";
import { Power } from "../widgets/power";
import { connectionOf } from "./reasons";
import type { ScreenProps } from "./screen";

export function Settings({ peer, snapshot }: ScreenProps) {
  const { settings } = snapshot;
  const processors = Math.max(navigator.hardwareConcurrency, settings.slots);
  const { refusal, asking } = useAsking();
  return (
    <div class="stack">
      <h1 tabIndex={-1}>Settings</h1>
      <section class="card">
        <h2>How much</h2>
        <Power peer={peer} power={settings.power} />
        <div class="field">
          <label for="slots">Chunks at the same time</label>
          <select
            id="slots"
            value={settings.slots}
            onChange={(event) => {
              const slots = Number(event.currentTarget.value);
              void asking(() => peer.ask("changeSettings", { slots }));
            }}
          >
            {Array.from({ length: processors }, (_, index) => (
              <option key={index} value={index + 1}>
                {index + 1}
              </option>
            ))}
          </select>
          <small class="faint">This device has {counted(navigator.hardwareConcurrency, "processor core")}.</small>
          <Refusal sentence={refusal} />
        </div>
      </section>
      <section class="card">
        <h2>How much of the connection</h2>
        <Upload peer={peer} bytesPerS={settings.uploadBytesPerS} />
      </section>
      <section class="card">
        <h2>When to wait</h2>
        <Switch peer={peer} settings={settings} name="pauseOnBattery" note={able("getBattery" in navigator)}>
          Wait while on battery
        </Switch>
        <Switch peer={peer} settings={settings} name="pauseOnSaveData" note={able("connection" in navigator)}>
          Wait while the browser saves data
        </Switch>
        <Switch peer={peer} settings={settings} name="pauseWhenHot" note={able("PressureObserver" in globalThis)}>
          Wait while the device is hot
        </Switch>
      </section>
      <section class="card">
        <h2>What</h2>
        <Switch
          peer={peer}
          settings={settings}
          name="allowJs"
          note="They run in the same closed box as WebAssembly, but use the browser's larger JavaScript engine."
        >
          Accept tasks written in JavaScript
        </Switch>
        <Gpu peer={peer} gpu={settings.gpu} />
        <Switch
          peer={peer}
          settings={settings}
          name="keepAwake"
          note={"wakeLock" in navigator ? "While computing and while this page is in front." : able(false)}
        >
          Keep the screen on
        </Switch>
      </section>
      <section class="card">
        <h2>This peer</h2>
        <Facts
          rows={[
            ["Network", snapshot.network],
            ["Peer id", <span class="key">{snapshot.peerId}</span>],
            [
              "Key",
              snapshot.keyKind === "software key"
                ? "kept in software, because this page came over plain http"
                : "kept by the browser, cannot be copied out",
            ],
            ["Connections", connectionOf(snapshot)],
            ["Stored here", bytes(snapshot.storedBytes)],
          ]}
        />
        <p>
          <a href="/me">Export or delete my data</a>
        </p>
      </section>
    </div>
  );
}

/** Only a real GPU is offered. What plays one is for tests, which set it by its name. */
function Gpu({ peer, gpu }: { readonly peer: Console; readonly gpu: Values["gpu"] }) {
  const { refusal, asking } = useAsking();
  const note =
    "gpu" in navigator
      ? "Tasks made for GPUs compute much faster there. Without it they run on the processor."
      : "This browser does not let pages use the GPU, so such tasks run on the processor.";
  return (
    <div class="switch">
      <label>
        <input
          type="checkbox"
          checked={gpu !== "off"}
          aria-describedby="note-gpu"
          onChange={(event) => {
            const choice = event.currentTarget.checked ? "on" : "off";
            void asking(() => peer.ask("changeSettings", { gpu: choice }));
          }}
        />
        <span>Let tasks use the GPU</span>
      </label>
      <small id="note-gpu" class="faint">
        {note}
      </small>
      <Refusal sentence={refusal} />
    </div>
  );
}

const UPLOADS = [25_000, 100_000, 500_000, 2_000_000];

/** How much this device gives to others: code, inputs and results pass from peer to peer. */
function Upload({ peer, bytesPerS }: { readonly peer: Console; readonly bytesPerS: number | null }) {
  const { refusal, asking } = useAsking();
  return (
    <div class="field">
      <label for="upload">Give to other peers at most</label>
      <select
        id="upload"
        value={bytesPerS ?? ""}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          void asking(() => peer.ask("changeSettings", { uploadBytesPerS: chosen === "" ? null : Number(chosen) }));
        }}
      >
        <option value="">As much as it takes</option>
        {UPLOADS.map((each) => (
          <option key={each} value={each}>
            {bytes(each)} a second
          </option>
        ))}
      </select>
      <small class="faint">Code, inputs and results pass from peer to peer. What a little upload delays is not lost.</small>
      <Refusal sentence={refusal} />
    </div>
  );
}

function able(isAble: boolean): string {
  return isAble ? "" : "This browser does not tell, so this has no effect here.";
}

interface SwitchProps {
  readonly peer: Console;
  readonly settings: Values;
  readonly name: "pauseOnBattery" | "pauseOnSaveData" | "pauseWhenHot" | "allowJs" | "keepAwake";
  readonly note: string;
  readonly children: ComponentChildren;
}

function Switch({ peer, settings, name, note, children }: SwitchProps) {
  const { refusal, asking } = useAsking();
  return (
    <div class="switch">
      <label>
        <input
          type="checkbox"
          checked={settings[name]}
          aria-describedby={note === "" ? undefined : `note-${name}`}
          onChange={(event) => {
            const isOn = event.currentTarget.checked;
            void asking(() => peer.ask("changeSettings", { [name]: isOn }));
          }}
        />
        <span>{children}</span>
      </label>
      {note !== "" && (
        <small id={`note-${name}`} class="faint">
          {note}
        </small>
      )}
      <Refusal sentence={refusal} />
    </div>
  );
}
