/** What this origin or browser lacks, as one line; null when nothing is missing. */
export function missingOf(): string | null {
  if (typeof WebAssembly === "undefined")
    return "This browser has WebAssembly switched off, so it cannot compute here.";
  if (typeof RTCPeerConnection === "undefined")
    return "This browser has WebRTC switched off, so it cannot reach other peers.";
  if (typeof indexedDB === "undefined")
    return "This browser stores nothing for this page: work done here is forgotten on reload.";
  if (!isSecureContext) {
    return "Plain http: computing works; installing, keeping the screen on and a protected key need https.";
  }
  return null;
}
