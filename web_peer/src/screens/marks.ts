import { useEffect, useRef, useState } from "preact/hooks";
import type { ChunkMark, Console, TaskView } from "../peer/console";

/** Often enough to watch, seldom enough for a task of 65,536 marks; a guess. */
const EVERY_MS = 500;

/**
 * The chunk marks of a task, asked for again after every snapshot, at most twice a second and one question at a time.
 *
 * The numbers of a snapshot cannot tell when to ask: a creator counts a chunk as accepted before its checkpoint, which
 * marks it, is there. A refusal keeps the marks already there, since a picture a moment old is better than none.
 */
export function useChunkMarks(peer: Console, task: TaskView): readonly ChunkMark[] {
  const { taskId } = task;
  const [marks, setMarks] = useState<readonly ChunkMark[]>([]);
  const refresh = useRef<() => Promise<void>>(async () => undefined);
  useEffect(() => {
    let isOver = false;
    let isAsking = false;
    let isStale = false;
    setMarks([]);
    refresh.current = async () => {
      isStale = true;
      if (isAsking) return;
      isAsking = true;
      while (isStale && !isOver) {
        isStale = false;
        const answer = await peer.ask("chunkMarks", { taskId }).catch(() => null);
        if (answer !== null && !isOver) setMarks((shown) => (isSame(shown, answer) ? shown : answer));
        await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
      }
      isAsking = false;
    };
    return () => {
      isOver = true;
    };
  }, [peer, taskId]);
  useEffect(() => void refresh.current(), [task]);
  return marks;
}

function isSame(one: readonly ChunkMark[], other: readonly ChunkMark[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ chunk, state, mine }, index) => {
      const mark = other[index]!;
      return mark.chunk === chunk && mark.state === state && mark.mine === mine;
    })
  );
}
