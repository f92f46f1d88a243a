import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

/** One sentence out of whatever was thrown: the peer's errors are written to be shown. */
export function sentence(error: unknown): string {
  return error instanceof Error && error.message !== "" ? error.message : "Something went wrong, and nobody said what.";
}

/** What became of the last thing asked: an `Action` without the button, for forms and sliders. */
export function useAsking(): {
  readonly busy: boolean;
  readonly refusal: string | null;
  readonly asking: (act: () => Promise<unknown>) => Promise<void>;
} {
  const [busy, setBusy] = useState(false);
  const [refusal, setRefusal] = useState<string | null>(null);
  const asking = async (act: () => Promise<unknown>): Promise<void> => {
    setBusy(true);
    setRefusal(null);
    try {
      await act();
    } catch (error) {
      setRefusal(sentence(error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, refusal, asking };
}

/** Where a refusal is shown: beside what was refused, and spoken at once. */
export function Refusal({ sentence: text }: { sentence: string | null }) {
  return text === null ? null : (
    <p role="alert" class="refusal">
      {text}
    </p>
  );
}

interface ActionProps {
  readonly act: () => Promise<unknown>;
  readonly look?: "main" | "plain" | "quiet" | "danger";
  readonly disabled?: boolean;
  readonly children: ComponentChildren;
}

/**
 * A button that asks the peer for something and shows the refusal where it happened.
 *
 * While it waits it stays focusable (`aria-disabled`): a disabled button would throw keyboard users out of their place.
 */
export function Action({ act, look = "plain", disabled = false, children }: ActionProps) {
  const { busy, refusal, asking } = useAsking();
  return (
    <span class="action">
      <button
        type="button"
        class={look}
        disabled={disabled}
        aria-disabled={busy}
        onClick={() => {
          if (!busy) void asking(act);
        }}
      >
        {children}
      </button>
      <Refusal sentence={refusal} />
    </span>
  );
}
