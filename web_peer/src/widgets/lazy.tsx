import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

/**
 * A component that is fetched when it is first shown, so that the first load carries only what a volunteer needs.
 *
 * Someone whose connection broke meanwhile gets a sentence and a button, not an empty page.
 */
export function lazy<Props extends object>(load: () => Promise<ComponentType<Props>>): ComponentType<Props> {
  let loaded: ComponentType<Props> | null = null;
  return function Lazy(props: Props) {
    const [Loaded, setLoaded] = useState<ComponentType<Props> | null>(() => loaded);
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (Loaded !== null || failed) return;
      load().then(
        (component) => {
          loaded = component;
          setLoaded(() => component);
        },
        () => setFailed(true),
      );
    }, [Loaded, failed]);
    if (failed) {
      return (
        <p role="alert" class="refusal">
          This part of the page could not be loaded: the server does not answer.{" "}
          <button type="button" class="quiet" onClick={() => setFailed(false)}>
            Try again
          </button>
        </p>
      );
    }
    return Loaded === null ? <p class="faint">Loading…</p> : <Loaded {...props} />;
  };
}
