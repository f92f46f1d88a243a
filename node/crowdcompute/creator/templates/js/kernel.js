// One chunk: numbers or bytes in, bytes out, nothing else. `cc-task check` tries it out; protocol/spec/javascript.md
// says what there is besides the language itself (little), and what may be returned: bytes, a string or a JSON value.

export default function ([start, stop]) {
  let sum = 0;
  for (let n = start; n < stop; n++) sum += n * n;
  return { start, stop, sum };
}
