import { useRef, useState } from "preact/hooks";

/** Text to take away: shown whole, selected on focus, copied by the button where the browser lets a page copy. */
export function CopyField({ label, text, rows = 1 }: { label: string; text: string; rows?: number }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const [said, setSaid] = useState("");
  const copy = async (): Promise<void> => {
    // Insecure origins have no clipboard: selecting leaves one keystroke to the person.
    field.current?.select();
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied.");
    } catch {
      setSaid("Selected: press Ctrl+C or use your device's copy.");
    }
  };
  return (
    <div class="copy">
      <label>
        <span>{label}</span>
        <textarea
          ref={field}
          readOnly
          rows={rows}
          value={text}
          spellcheck={false}
          onFocus={(e) => e.currentTarget.select()}
        />
      </label>
      <button type="button" onClick={() => void copy()}>
        Copy
      </button>
      <span role="status" class="faint">
        {said}
      </span>
    </div>
  );
}
