/**
 * A kernel's source as words (spec/gpu.md, "Words").
 *
 * Everything that a parser could stumble over is decided here, on plain text: which characters there may be, how many
 * words, and how deep brackets go.
 */

import { ModuleRefused } from "../errors";

const SOURCE_BYTES_MAX = 65_536;
/** Engines compile a thousand statements in a second and sixty thousand in five minutes (research/gpu.md). */
const TOKENS_MAX = 20_000;
const NAME_CHARACTERS_MAX = 64;
/** Of brackets. One compiler crashed at 3,000. */
const NESTING_MAX = 32;

export interface Token {
  readonly kind: "name" | "number" | "mark" | "end";
  readonly text: string;
  readonly line: number;
}

const REFUSED = /[^\t\n\r -~]/;
const SPACE = /(?:[ \t\r\n]+|\/\/[^\n]*)*/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER =
  /0[xX][0-9a-fA-F]+[iu]?|[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?f?|\.[0-9]+(?:[eE][+-]?[0-9]+)?f?|[0-9]+[eE][+-]?[0-9]+f?|(?:0|[1-9][0-9]*)[iuf]?/y;
const NUMBER_GOES_ON = /[A-Za-z0-9_.]/;
const MARK =
  /<<=|>>=|->|\+\+|--|\+=|-=|\*=|\/=|%=|&=|\|=|\^=|==|!=|<=|>=|&&|\|\||<<|>>|[-{}()[\]<>=+*/%&|^~!.,;:@]/y;

/**
 * The words of `source`, then one of kind `end`.
 *
 * @throws ModuleRefused when it is not made of the words of a kernel, or of too many.
 */
export function tokens(source: Uint8Array): Token[] {
  if (source.length < 1 || source.length > SOURCE_BYTES_MAX) {
    throw new ModuleRefused(`the kernel has ${source.length} bytes, 1 to ${SOURCE_BYTES_MAX} may be`);
  }
  let text = "";
  for (let begin = 0; begin < source.length; begin += 4_096) {
    text += String.fromCharCode(...source.subarray(begin, begin + 4_096));
  }
  const refused = REFUSED.exec(text);
  if (refused !== null) {
    const byte = refused[0].charCodeAt(0).toString(16).padStart(2, "0");
    throw new ModuleRefused(`line ${1 + lines(text.slice(0, refused.index))}: the byte 0x${byte} is not a kernel's`);
  }
  const words: Token[] = [];
  let position = 0;
  let nesting = 0;
  let line = 1;
  for (;;) {
    const start = position;
    position = skip(text, position, line);
    line += lines(text.slice(start, position));
    if (position === text.length) return [...words, { kind: "end", text: "the end", line }];
    if (words.length === TOKENS_MAX) throw new ModuleRefused(`the kernel has more than ${TOKENS_MAX} words`);
    const token = word(text, position, line);
    position += token.text.length;
    words.push(token);
    if ("([{".includes(token.text)) {
      if (++nesting > NESTING_MAX) throw new ModuleRefused(`line ${line}: brackets go deeper than ${NESTING_MAX}`);
    } else if (")]}".includes(token.text)) nesting--;
  }
}

function match(pattern: RegExp, text: string, position: number): string | null {
  pattern.lastIndex = position;
  return pattern.exec(text)?.[0] ?? null;
}

/** Where the next word begins. */
function skip(text: string, from: number, line: number): number {
  for (let position = from; ; ) {
    position += match(SPACE, text, position)!.length;
    if (!text.startsWith("/*", position)) return position;
    const end = text.indexOf("*/", position + 2);
    if (end < 0 || text.slice(position + 2, end).includes("/*")) {
      throw new ModuleRefused(`line ${line}: a comment does not end, or holds another`);
    }
    position = end + 2;
  }
}

function word(text: string, position: number, line: number): Token {
  const name = match(NAME, text, position);
  if (name !== null) {
    if (name === "_" || name.startsWith("__") || name.length > NAME_CHARACTERS_MAX) {
      throw new ModuleRefused(`line ${line}: a name is not _, does not begin with __, and is not longer than 64`);
    }
    return { kind: "name", text: name, line };
  }
  const number = match(NUMBER, text, position);
  if (number !== null) {
    if (NUMBER_GOES_ON.test(text.charAt(position + number.length))) {
      throw new ModuleRefused(`line ${line}: this is not a number of a kernel`);
    }
    return { kind: "number", text: number, line };
  }
  const mark = match(MARK, text, position);
  if (mark !== null) return { kind: "mark", text: mark, line };
  throw new ModuleRefused(`line ${line}: ${text.charAt(position)} is not a word of a kernel`);
}

function lines(text: string): number {
  return text.split("\n").length - 1;
}
