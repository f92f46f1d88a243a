/** The form of the Publish screen as text fields, and the draft they make. The rules are those of spec/manifest.md. */

import type { Draft } from "../../peer/console";

export interface Form {
  readonly name: string;
  readonly description: string;
  readonly link: string;
  readonly source: string;
  readonly cut: "range" | "grid";
  readonly start: string;
  readonly stop: string;
  readonly step: string;
  readonly width: string;
  readonly height: string;
  readonly tile: string;
  readonly seconds: string;
  readonly memoryMb: string;
  readonly outputKb: string;
  readonly replication: "1" | "2" | "3";
  readonly eps: string;
}

export type FormReading =
  | { readonly kind: "draft"; readonly draft: Draft; readonly chunks: number }
  | { readonly kind: "refused"; readonly field: keyof Form; readonly sentence: string };

export const EMPTY_FORM: Omit<Form, "source" | "cut"> = {
  name: "",
  description: "",
  link: "",
  start: "0",
  stop: "1000000",
  step: "10000",
  width: "512",
  height: "512",
  tile: "64",
  seconds: "20",
  memoryMb: "16",
  outputKb: "64",
  replication: "2",
  eps: "0.01",
};

const CODE_BYTES_MAX = 8 * 1024 * 1024;
const CHUNKS_MAX = 2n ** 31n - 1n;
const I64_MAX = 2n ** 63n - 1n;
const I64_MIN = -(2n ** 63n);
const SIDE_MAX = 2 ** 31 - 1;
/** Megabytes and kilobytes of the form are binary, like WebAssembly's pages. */
const MB = 1024 * 1024;
const KB = 1024;

class Refused extends Error {
  constructor(
    readonly field: keyof Form,
    message: string,
  ) {
    super(message);
  }
}

/** The draft a form makes, or the first thing that is wrong with it. */
export function readForm(form: Form): FormReading {
  try {
    return { kind: "draft", ...draftOf(form) };
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return { kind: "refused", field: error.field, sentence: error.message };
  }
}

function draftOf(form: Form): { draft: Draft; chunks: number } {
  const name = form.name.trim();
  if (name === "") throw new Refused("name", "Give the task a name: volunteers decide by it.");
  if ([...name].length > 80) throw new Refused("name", "The name is longer than 80 characters.");
  if ([...form.description].length > 2000)
    throw new Refused("description", "The description is longer than 2,000 characters.");
  if (form.link !== "" && !/^https?:\/\/[^ ]+$/.test(form.link)) {
    throw new Refused("link", "The link does not begin with http:// or https://.");
  }
  const source = new TextEncoder().encode(form.source);
  if (!/export\s+default/.test(form.source)) {
    throw new Refused(
      "source",
      "The code has no `export default function (args, stdin)`: that is what is called for each chunk.",
    );
  }
  if (source.length > CODE_BYTES_MAX) throw new Refused("source", "The code is larger than 8 MB.");
  const { split, chunks } = form.cut === "range" ? rangeOf(form) : gridOf(form);
  return {
    chunks,
    draft: {
      name,
      description: form.description,
      link: form.link,
      runtime: "js",
      source,
      split,
      seconds: decimal(form, "seconds", "Seconds for a chunk", 0.001, 3600),
      memoryBytes: Math.round(decimal(form, "memoryMb", "Memory", 0.0625, 256) * MB),
      outputBytes: Math.round(decimal(form, "outputKb", "The largest result", 0.001, 16 * 1024) * KB),
      replication: Number(form.replication) as 1 | 2 | 3,
      eps: decimal(form, "eps", "Wrong results tolerated", 1e-9, 0.5),
    },
  };
}

function rangeOf(form: Form): { split: Draft["split"]; chunks: number } {
  const start = integer(form, "start", "The first number", I64_MIN, I64_MAX);
  const stop = integer(form, "stop", "The end", I64_MIN, I64_MAX);
  const step = integer(form, "step", "Numbers in a chunk", 1n, I64_MAX);
  if (stop <= start) throw new Refused("stop", "The end must be larger than the first number.");
  const chunks = (stop - start + step - 1n) / step;
  if (chunks > CHUNKS_MAX) throw new Refused("step", "That makes too many chunks: put more numbers into each.");
  return { split: { kind: "range", start: `${start}`, stop: `${stop}`, step: `${step}` }, chunks: Number(chunks) };
}

function gridOf(form: Form): { split: Draft["split"]; chunks: number } {
  const side = (field: "width" | "height" | "tile", label: string): number =>
    Number(integer(form, field, label, 1n, BigInt(SIDE_MAX)));
  const [width, height, tile] = [
    side("width", "The width"),
    side("height", "The height"),
    side("tile", "A tile's side"),
  ];
  const chunks = Math.ceil(width / tile) * Math.ceil(height / tile);
  if (chunks > Number(CHUNKS_MAX)) throw new Refused("tile", "That makes too many chunks: make the tiles larger.");
  return { split: { kind: "grid", width, height, tileWidth: tile, tileHeight: tile }, chunks };
}

function integer(form: Form, field: keyof Form, label: string, lowest: bigint, highest: bigint): bigint {
  const text = form[field].replace(/[\s_,]/g, "");
  if (!/^-?\d{1,20}$/.test(text)) throw new Refused(field, `${label} must be a whole number.`);
  const value = BigInt(text);
  if (value < lowest || value > highest) throw new Refused(field, `${label} must be between ${lowest} and ${highest}.`);
  return value;
}

function decimal(form: Form, field: keyof Form, label: string, lowest: number, highest: number): number {
  const value = Number(form[field]);
  if (form[field].trim() === "" || !Number.isFinite(value) || value < lowest || value > highest) {
    throw new Refused(field, `${label} must be a number between ${lowest} and ${highest}.`);
  }
  return value;
}
