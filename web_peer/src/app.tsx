import { computed, signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Console, Snapshot } from "./peer/console";
import { Computing } from "./screens/computing";
import { Join } from "./screens/join";
import { missingOf } from "./screens/missing";
import { showStateInTab } from "./screens/page_state";
import { connectionOf } from "./screens/reasons";
import { followAddress, readJoin, type Route, route } from "./screens/router";
import type { ScreenProps, TaskScreenProps } from "./screens/screen";
import { Icon, type IconName, Mark } from "./widgets/icons";
import { lazy } from "./widgets/lazy";

// A volunteer needs the question and the computing screen; everything else is fetched when it is opened.
const Tasks = lazy<ScreenProps>(() => import("./screens/tasks").then((module) => module.Tasks));
const Task = lazy<TaskScreenProps>(() => import("./screens/task").then((module) => module.Task));
const Publish = lazy<ScreenProps>(() => import("./screens/publish").then((module) => module.Publish));
const Results = lazy<TaskScreenProps>(() => import("./screens/results").then((module) => module.Results));
const Me = lazy<ScreenProps>(() => import("./screens/me").then((module) => module.Me));
const Settings = lazy<ScreenProps>(() => import("./screens/settings").then((module) => module.Settings));
const Doctor = lazy<ScreenProps>(() => import("./screens/doctor").then((module) => module.Doctor));
const Badge = lazy<ScreenProps>(() => import("./screens/badge").then((module) => module.Badge));
const About = lazy<ScreenProps>(() => import("./screens/about").then((module) => module.About));
const Embed = lazy<ScreenProps & { linkedTaskId: string | null }>(() =>
  import("./screens/embed").then((module) => module.Embed),
);

const state = signal<Snapshot | null>(null);

const TITLES: Record<Route["kind"], string> = {
  computing: "",
  join: "Join",
  tasks: "Tasks",
  task: "Task",
  publish: "Publish",
  results: "Results",
  me: "My contribution",
  settings: "Settings",
  doctor: "Connection doctor",
  badge: "Badge",
  about: "About and safety",
  embed: "",
  nowhere: "Not found",
};
const title = computed(() => TITLES[route.value.kind]);

/** The page: one snapshot in, one screen out. `console` is the peer, wherever it runs. */
export function App({ console: peer }: { console: Console }) {
  useEffect(() => peer.onSnapshot((snapshot) => (state.value = snapshot)), [peer]);
  useEffect(followAddress, []);
  useEffect(() => showStateInTab(state, title), []);
  const reading = readJoin(location.hash);
  const linkedTaskId = reading.kind === "join" ? reading.join.taskId : null;
  if (route.value.kind === "embed") {
    return state.value === null ? (
      <Starting />
    ) : (
      <Embed peer={peer} snapshot={state.value} linkedTaskId={linkedTaskId} />
    );
  }
  return (
    <Frame snapshot={state.value}>
      {reading.kind === "refused" ? (
        <section class="card centred">
          <h1 tabIndex={-1}>This link does not work</h1>
          <p class="refusal">{reading.sentence}</p>
        </section>
      ) : state.value === null ? (
        <Starting />
      ) : (
        <Screen peer={peer} snapshot={state.value} linkedTaskId={linkedTaskId} />
      )}
    </Frame>
  );
}

function Starting() {
  return (
    <section class="card centred" aria-busy="true">
      <h1 tabIndex={-1}>Starting</h1>
      <p class="faint">The peer in this tab is getting ready.</p>
    </section>
  );
}

function Screen({ peer, snapshot, linkedTaskId }: ScreenProps & { linkedTaskId: string | null }) {
  const here = route.value;
  switch (here.kind) {
    case "computing": {
      const hasBegun =
        snapshot.mode !== "off" || snapshot.tasks.some((task) => task.isMine || task.consent.state === "given");
      return hasBegun ? (
        <Computing peer={peer} snapshot={snapshot} />
      ) : (
        <Join peer={peer} snapshot={snapshot} linkedTaskId={null} />
      );
    }
    case "join":
      return <Join peer={peer} snapshot={snapshot} linkedTaskId={linkedTaskId} />;
    case "task":
      return <Task peer={peer} snapshot={snapshot} taskId={here.taskId} />;
    case "results":
      return <Results peer={peer} snapshot={snapshot} taskId={here.taskId} />;
    case "nowhere":
      return (
        <section class="card centred">
          <h1 tabIndex={-1}>There is no such page</h1>
          <p>
            <a href="/">Back to computing</a>
          </p>
        </section>
      );
    case "embed":
      return null;
    default: {
      const Plain = PLAIN[here.kind];
      return <Plain peer={peer} snapshot={snapshot} />;
    }
  }
}

const PLAIN: Record<
  "tasks" | "publish" | "me" | "settings" | "doctor" | "badge" | "about",
  ComponentType<ScreenProps>
> = {
  tasks: Tasks,
  publish: Publish,
  me: Me,
  settings: Settings,
  doctor: Doctor,
  badge: Badge,
  about: About,
};

const PLACES: readonly (readonly [string, IconName, string, readonly Route["kind"][]])[] = [
  ["/", "compute", "Compute", ["computing", "join"]],
  ["/tasks", "tasks", "Tasks", ["tasks", "task"]],
  ["/publish", "publish", "Publish", ["publish", "results"]],
  ["/me", "me", "Mine", ["me"]],
  ["/settings", "settings", "Settings", ["settings", "doctor", "badge", "about"]],
];

function Frame({ snapshot, children }: { snapshot: Snapshot | null; children: preact.ComponentChildren }) {
  const main = useRef<HTMLElement>(null);
  const here = route.value;
  const place = "taskId" in here ? `${here.kind} ${here.taskId}` : here.kind;
  const before = useRef(place);
  useEffect(() => {
    // Moving on puts the focus where the new screen begins, as loading a page would; the first screen leaves it alone.
    if (before.current === place) return;
    before.current = place;
    (main.current?.querySelector<HTMLElement>("h1") ?? main.current)?.focus({ preventScroll: true });
  }, [place]);
  const missing = missingOf();
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          // Following it would replace the fragment, which holds the network.
          event.preventDefault();
          main.current?.focus();
        }}
      >
        Skip to the content
      </a>
      <header class="top">
        <a class="brand" href="/">
          <Mark />
          CrowdCompute
        </a>
        {snapshot !== null && (
          <span class="pill" data-mode={snapshot.mode}>
            <span>
              {snapshot.mode} · {connectionOf(snapshot)}
            </span>
          </span>
        )}
      </header>
      <nav class="places" aria-label="Screens">
        {PLACES.map(([path, icon, name, kinds]) => (
          <a key={path} href={path} aria-current={kinds.includes(here.kind) ? "page" : undefined}>
            <Icon name={icon} />
            {name}
          </a>
        ))}
      </nav>
      <main id="main" ref={main} tabIndex={-1}>
        {missing !== null && <p class="missing">{missing}</p>}
        {children}
      </main>
      <footer>
        <a href="/doctor">Connection doctor</a>
        <a href="/badge">Badge</a>
        <a href="/about">About and safety</a>
      </footer>
    </>
  );
}
