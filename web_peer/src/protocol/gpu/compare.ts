/**
 * Whether two results of floats are the same one (spec/gpu.md, "Comparators").
 *
 * Comparators are symmetric and functions of two byte strings alone. Closeness is not transitive: how votes are counted
 * all the same is the tally's matter (tally.ts).
 */

import { equal } from "../bytes";
import { integer, type Infer, number, taggedPart } from "../codec";

const amount = number({ min: 0, max: 1e30 });

/**
 * `exact`: the same bytes. `ulp`: each element within `steps` representable numbers of the other, or within `absolute`.
 * `tol`: each element within `absolute + relative * the larger magnitude`, but for a share of `outliers`. `class`: the same
 * bytes within a class of devices (classes.ts), between classes as `tol`.
 */
export const Comparator = taggedPart("Comparator", {
  exact: {},
  ulp: { steps: integer(0, 2 ** 20), absolute: amount },
  tol: { absolute: amount, relative: amount, outliers: number({ min: 0, below: 1 }) },
  class: { absolute: amount, relative: amount, outliers: number({ min: 0, below: 1 }) },
});
export type Comparator = Infer<typeof Comparator>;

/** One of the arrays of f32 that a result is made of, one after another: so many elements for each invocation. */
export interface Compared {
  readonly elements: number;
  readonly compare: Comparator;
}

const WORD = 4;

/** A result that is compared within classes ends with its device's. */
export const CLASS_BYTES = 32;

/** How the results of a task are compared that are not compared by their bytes. */
export class Comparison {
  private readonly perItem: number;

  constructor(private readonly arrays: readonly Compared[]) {
    this.perItem = arrays.reduce((sum, { elements }) => sum + elements, 0);
  }

  /** Whether votes are compared byte by byte within the class that each result names. */
  get hasClasses(): boolean {
    return this.arrays.some(({ compare }) => compare.kind === "class");
  }

  /** The class that a vote's result names; of results without classes all are in one. */
  classOf(data: Uint8Array): Uint8Array {
    return this.hasClasses ? data.subarray(-CLASS_BYTES) : data.subarray(0, 0);
  }

  /** A vote's result without the class it names. */
  arraysOf(data: Uint8Array): Uint8Array {
    return this.hasClasses ? data.subarray(0, -CLASS_BYTES) : data;
  }

  /** Whether these bytes may be voted for: whole, and all their numbers finite. */
  isResult(data: Uint8Array): boolean {
    return (!this.hasClasses || data.length >= CLASS_BYTES) && this.areArrays(this.arraysOf(data));
  }

  /**
   * Whether two votes' results are one. Symmetric; what is no result is like nothing. Of two that differ in the class of
   * modules one is wrong, however near they are.
   */
  areClose(left: Uint8Array, right: Uint8Array): boolean {
    if (!this.hasClasses) return this.areNear(left, right);
    if (left.length < CLASS_BYTES || right.length < CLASS_BYTES) return false;
    const areModules = [left, right].every((data) => this.classOf(data).every((byte) => byte === 0));
    return areModules ? this.isResult(left) && equal(left, right) : this.areNear(this.arraysOf(left), this.arraysOf(right));
  }

  /** Whether these bytes are arrays of the task, all their numbers finite. */
  areArrays(data: Uint8Array): boolean {
    return data.length % (WORD * this.perItem) === 0 && floats(data).every(Number.isFinite);
  }

  /** Whether two devices' arrays are within the tolerance of each other. */
  areNear(left: Uint8Array, right: Uint8Array): boolean {
    if (left.length !== right.length || !this.areArrays(left) || !this.areArrays(right)) return false;
    const items = left.length / WORD / this.perItem;
    let begin = 0;
    return this.arrays.every(({ elements, compare }) => {
      const end = begin + WORD * elements * items;
      const agrees = agree(compare, left.subarray(begin, end), right.subarray(begin, end));
      begin = end;
      return agrees;
    });
  }

  /** With half of every tolerance: what two devices are each as close to, they are close to each other. */
  halved(): Comparison {
    return new Comparison(this.arrays.map(({ elements, compare }) => ({ elements, compare: halved(compare) })));
  }
}

/** Whether two arrays of f32, of one length and all finite, are the same result. */
function agree(comparator: Comparator, left: Uint8Array, right: Uint8Array): boolean {
  if (comparator.kind === "exact") return left.every((byte, at) => byte === right[at]);
  const [ours, theirs] = [floats(left), floats(right)];
  const { absolute } = comparator;
  if (comparator.kind === "ulp") {
    const [here, there] = [orders(left), orders(right)];
    return ours.every(
      (x, at) => Math.abs(here[at]! - there[at]!) <= comparator.steps || Math.abs(x - theirs[at]!) <= absolute,
    );
  }
  const far = ours.filter((x, at) => {
    const y = theirs[at]!;
    return Math.abs(x - y) > absolute + comparator.relative * Math.max(Math.abs(x), Math.abs(y));
  });
  return far.length <= comparator.outliers * ours.length;
}

function halved(comparator: Comparator): Comparator {
  switch (comparator.kind) {
    case "exact":
      return comparator;
    case "ulp":
      return { kind: "ulp", steps: Math.floor(comparator.steps / 2), absolute: comparator.absolute / 2 };
    case "tol":
    case "class": {
      const { kind, absolute, relative, outliers } = comparator;
      return { kind, absolute: absolute / 2, relative: relative / 2, outliers: outliers / 2 };
    }
  }
}

function words(data: Uint8Array, read: (view: DataView, at: number) => number): number[] {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  return Array.from({ length: data.length / WORD }, (_, position) => read(view, WORD * position));
}

function floats(data: Uint8Array): number[] {
  return words(data, (view, at) => view.getFloat32(at, true));
}

/** The place of each f32 among all of them; both zeros have one. */
function orders(data: Uint8Array): number[] {
  return words(data, (view, at) => {
    const word = view.getInt32(at, true);
    return word >= 0 ? word : -(word & 0x7fff_ffff);
  });
}
