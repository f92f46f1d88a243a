import { render } from "preact";
import { App } from "./app";
import { openConsole } from "./peer/client";
import "./styles.css";

render(<App console={openConsole()} />, document.querySelector("#app")!);

// Insecure origins have no service workers; while developing, a cached page would hide changes.
if (import.meta.env.PROD && "serviceWorker" in navigator) void navigator.serviceWorker.register("/sw.js");
