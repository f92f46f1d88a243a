import type { TaskView } from "../peer/console";
import { fingerprint } from "./format";
import { Icon } from "./icons";

/** Who made a task: a key, since nobody vouches for names, and whether the signature holds. */
export function Creator({ task }: { task: TaskView }) {
  return (
    <span class="creator">
      <span class="key" title={task.creator}>
        {fingerprint(task.creator)}
      </span>
      {task.signatureOk ? (
        <span class="good">
          <Icon name="tick" />
          signature checked on this device
        </span>
      ) : (
        <span class="bad">
          <Icon name="cross" />
          signature wrong
        </span>
      )}
      {task.isMine && <span class="tag">your key</span>}
    </span>
  );
}
