import type { Console, Snapshot } from "../peer/console";

/** What every screen is given: the newest state, and whom to ask. */
export interface ScreenProps {
  readonly peer: Console;
  readonly snapshot: Snapshot;
}

export interface TaskScreenProps extends ScreenProps {
  readonly taskId: string;
}
