/**
 * The sandbox as the peer's page sees it: an iframe that may run scripts and nothing else.
 *
 * A crashed iframe fires no event. Whoever holds the port notices by the silence, and asks for another.
 */

const SANDBOX_URL = "/sandbox.html";

let close = (): void => undefined;

/** Make the sandbox anew; everything that ran in the one before ends. The port speaks `ToPage` and `FromPage`. */
export function openSandbox(url: string = SANDBOX_URL): Promise<MessagePort> {
  close();
  const iframe = document.createElement("iframe");
  iframe.setAttribute("sandbox", "allow-scripts");
  iframe.hidden = true;
  iframe.title = "Sandbox";
  iframe.src = url;
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    const listener = ({ source, data }: MessageEvent): void => {
      if (source === null || source !== iframe.contentWindow || data !== "ready") return;
      removeEventListener("message", listener);
      // Its origin is opaque, so it cannot be named.
      iframe.contentWindow.postMessage(null, "*", [port2]);
      resolve(port1);
    };
    addEventListener("message", listener);
    close = () => {
      removeEventListener("message", listener);
      iframe.remove();
    };
    document.body.append(iframe);
  });
}

/** Remove the sandbox: whatever runs in it ends at this moment. */
export function removeSandbox(): void {
  close();
}
