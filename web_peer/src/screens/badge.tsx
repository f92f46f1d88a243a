import { useState } from "preact/hooks";
import { BadgeFace } from "../widgets/badge_face";
import { CopyField } from "../widgets/copy";
import { connectionOf } from "./reasons";
import { joinFragment } from "./router";
import type { ScreenProps } from "./screen";

const WIDTH = 320;
const HEIGHT = 240;

const asleep = async (): Promise<void> => undefined;

/** Makes the snippet that lets a site's visitors help: a frame that does nothing until they say so. */
export function Badge({ snapshot }: ScreenProps) {
  const [taskId, setTaskId] = useState("");
  const [theme, setTheme] = useState("auto");
  const [limit, setLimit] = useState("50");
  const fragment = joinFragment({ network: snapshot.network, taskId: taskId === "" ? null : taskId, invite: null, servers: [], vouchers: [] });
  const address = `${location.origin}/embed?theme=${theme}&limit=${limit}${fragment}`;
  const open = snapshot.tasks.filter((task) => task.state === "open");
  const example = open.find((task) => taskId === "" || task.taskId === taskId);
  const snippet =
    `<iframe src="${address.replaceAll("&", "&amp;")}" width="${WIDTH}" height="${HEIGHT}"` +
    ` title="CrowdCompute: help a computation" loading="lazy"></iframe>`;
  return (
    <div class="stack">
      <header>
        <h1 tabIndex={-1}>Badge for your site</h1>
        <p>
          Visitors see who asks and what for. Nothing is computed before they press Start, and their answer counts for
          your site only.
        </p>
      </header>
      <div class="columns">
        <section class="card">
          <h2>Choose</h2>
          <div class="field">
            <label for="badge-task">Task</label>
            <select id="badge-task" value={taskId} onChange={(event) => setTaskId(event.currentTarget.value)}>
              <option value="">Whatever is open</option>
              {open.map((task) => (
                <option key={task.taskId} value={task.taskId}>
                  {task.name}
                </option>
              ))}
            </select>
          </div>
          <div class="field">
            <label for="badge-theme">Colours</label>
            <select id="badge-theme" value={theme} onChange={(event) => setTheme(event.currentTarget.value)}>
              <option value="auto">As the visitor's device</option>
              <option value="light">Light</option>
              <option value="dark">Dark</option>
            </select>
          </div>
          <div class="field">
            <label for="badge-limit">Power at most</label>
            <select id="badge-limit" value={limit} onChange={(event) => setLimit(event.currentTarget.value)}>
              <option value="25">25 %</option>
              <option value="50">50 %</option>
              <option value="100">100 %</option>
            </select>
          </div>
          <CopyField label="Paste this into your page" text={snippet} rows={5} />
        </section>
        <section class="card">
          <h2>How it looks</h2>
          <p class="faint">
            {WIDTH} by {HEIGHT} pixels. The buttons of this preview are asleep.
          </p>
          {/* Drawn, not framed: a frame would be a second peer with the same key, and the server lets in only one. */}
          <div class="badge-preview" data-theme={theme === "auto" ? undefined : theme} inert>
            <BadgeFace
              state={
                example === undefined ? { kind: "off" } : { kind: "asks", name: example.name, creator: example.creator }
              }
              today={0}
              connection={connectionOf(snapshot)}
              about="/about"
              start={asleep}
              pause={asleep}
            />
          </div>
        </section>
      </div>
    </div>
  );
}
