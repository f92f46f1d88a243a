import { useState } from "preact/hooks";
import type { EvidenceView } from "../../peer/evidence";
import { Action } from "../../widgets/action";
import { Facts } from "../../widgets/facts";
import { bytes } from "../../widgets/format";
import { Live } from "../../widgets/live";

/** Somebody's records.ccr, checked on this device: nobody's word is taken for it, this page's creator's neither. */
export function Evidence() {
  const [file, setFile] = useState<File | null>(null);
  const [found, setFound] = useState<EvidenceView | null>(null);
  const take = (chosen: File | undefined): void => {
    setFound(null);
    setFile(chosen ?? null);
  };
  const check = async (): Promise<void> => {
    if (file === null) throw new Error("Choose a file first: records.ccr, which comes with a certificate.");
    setFound(await checkEvidence(new Uint8Array(await file.arrayBuffer())));
  };
  return (
    <section class="card">
      <h2>Check a certificate</h2>
      <p>
        The records behind it are counted again on this device, signature by signature, as <code>cc-task audit</code>{" "}
        does.
      </p>
      <label
        class="drop"
        onDragOver={(event) => event.preventDefault()}
        onDrop={(event) => {
          event.preventDefault();
          take(event.dataTransfer?.files[0]);
        }}
      >
        <span>Drop a records.ccr here, or choose one</span>
        <input type="file" accept=".ccr" onChange={(event) => take(event.currentTarget.files?.[0])} />
        {file !== null && (
          <b>
            {file.name}, {bytes(file.size)}
          </b>
        )}
      </label>
      <Action act={check}>Check it</Action>
      {found !== null && <Found found={found} />}
    </section>
  );
}

function Found({ found }: { found: EvidenceView }) {
  if (!found.holds) {
    return (
      <p class="refusal" role="alert">
        {found.sentence}
      </p>
    );
  }
  return (
    <>
      <Facts rows={found.words} />
      <Live text="Everything holds." />
    </>
  );
}

/** Counted in a Worker that ends with the answer. */
function checkEvidence(data: Uint8Array): Promise<EvidenceView> {
  const worker = new Worker(new URL("../../peer/evidence.worker.ts", import.meta.url), { type: "module" });
  const answer = new Promise<EvidenceView>((resolve, reject) => {
    worker.onmessage = ({ data: found }: MessageEvent<EvidenceView>) => resolve(found);
    worker.onerror = () => reject(new Error("The file could not be checked: load the page again and try once more."));
    worker.postMessage(data);
  });
  return answer.finally(() => worker.terminate());
}
