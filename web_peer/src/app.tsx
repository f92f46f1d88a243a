import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Console, Snapshot } from "./peer/console";
import screensCss from "./screens.css?url";
import { Join } from "./screens/join";
import { missingOf } from "./screens/missing";
import { useStateInTab } from "./screens/page_state";
import { connectionOf, isOn } from "./screens/reasons";
import { followAddress, readJoin, type Route, useRoute } from "./screens/router";
import type { ScreenProps, TaskScreenProps } from "./screens/screen";
import { Icon, type IconName, Mark } from "./widgets/icons";
import { lazy } from "./widgets/lazy";

let style: Promise<void> | null = null;

/** Fetched by hand: what a bundler brings along to import a style later weighs more than all of this (vite.config.ts). */
function loadStyle(): Promise<void> {
  style ??= new Promise((resolve, reject) => {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = screensCss;
    link.onload = () => resolve();
    link.onerror = (event) => {
      style = null;
      link.remove();
      reject(event);
    };
    document.head.append(link);
  });
  return style;
}

/** A screen that is fetched when it is first opened, and with the first such screen what they all wear. */
function later<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  return lazy(() => Promise.all([load(), loadStyle()]).then(([screen]) => screen));
}

// A volunteer first needs the question. The screen behind it is fetched meanwhile, every other when it is opened.
const loadComputing = () => import("./screens/computing").then((module) => module.Computing);
const Computing = later<ScreenProps>(loadComputing);
const Tasks = later<ScreenProps>(() => import("./screens/tasks").then((module) => module.Tasks));
const Task = later<TaskScreenProps>(() => import("./screens/task").then((module) => module.Task));
const Publish = later<ScreenProps>(() => import("./screens/publish").then((module) => module.Publish));
const Results = later<TaskScreenProps>(() => import("./screens/results").then((module) => module.Results));
const Me = later<ScreenProps>(() => import("./screens/me").then((module) => module.Me));
const Settings = later<ScreenProps>(() => import("./screens/settings").then((module) => module.Settings));
const Doctor = later<ScreenProps>(() => import("./screens/doctor").then((module) => module.Doctor));
const Badge = later<ScreenProps>(() => import("./screens/badge").then((module) => module.Badge));
const About = later<ScreenProps>(() => import("./screens/about").then((module) => module.About));
const Embed = later<ScreenProps & { linkedTaskId: string | null }>(() =>
  import("./screens/embed").then((module) => module.Embed),
);

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

/** The page: one snapshot in, one screen out. `console` is the peer, wherever it runs. */
export function App({ console: peer }: { console: Console }) {
  const [snapshot, setSnapshot] = useState<Snapshot | null>(null);
  const [failure, setFailure] = useState<string | null>(null);
  const here = useRoute();
  useEffect(() => peer.onSnapshot(setSnapshot), [peer]);
  useEffect(() => peer.onFailure(setFailure), [peer]);
  useEffect(followAddress, []);
  useStateInTab(snapshot, TITLES[here.kind]);
  const isStarted = snapshot !== null;
  useEffect(() => {
    if (isStarted) Promise.all([loadComputing(), loadStyle()]).catch(() => undefined);
  }, [isStarted]);
  const reading = readJoin(location.hash);
  const linkedTaskId = reading.kind === "join" ? reading.join.taskId : null;
  const notYet = failure === null ? <Starting /> : <Failed sentence={failure} />;
  if (here.kind === "embed") {
    return snapshot === null ? notYet : <Embed peer={peer} snapshot={snapshot} linkedTaskId={linkedTaskId} />;
  }
  return (
    <Frame snapshot={snapshot} here={here}>
      {reading.kind === "refused" ? (
        <section class="card centred">
          <h1 tabIndex={-1}>This link does not work</h1>
          <p class="refusal">{reading.sentence}</p>
        </section>
      ) : snapshot === null ? (
        notYet
      ) : (
        <Screen peer={peer} snapshot={snapshot} here={here} linkedTaskId={linkedTaskId} />
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

function Failed({ sentence }: { sentence: string }) {
  return (
    <section class="card centred">
      <h1 tabIndex={-1}>No peer in this tab</h1>
      <p role="alert" class="refusal">
        {sentence}
      </p>
      <button type="button" onClick={() => location.reload()}>
        Load the page again
      </button>
    </section>
  );
}

interface PlaceProps {
  readonly here: Route;
}

function Screen({ peer, snapshot, here, linkedTaskId }: ScreenProps & PlaceProps & { linkedTaskId: string | null }) {
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

interface FrameProps extends PlaceProps {
  readonly snapshot: Snapshot | null;
  readonly children: preact.ComponentChildren;
}

function Frame({ snapshot, here, children }: FrameProps) {
  const main = useRef<HTMLElement>(null);
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
              {isOn(snapshot) && snapshot.mode === "paused" ? "waiting" : snapshot.mode} · {connectionOf(snapshot)}
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
