// Between Python and the prelude: one function without arguments. It reads a request from a buffer it shares with
// Python and returns a buffer. Nothing in the realm's global scope leads here, so no task does either.
function (prelude, libmHex) {
  "use strict";
  const [LOAD, RUN, FORGET, RESERVE] = [0, 1, 2, 3];
  const bytes = new Uint8Array(libmHex.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(libmHex.slice(2 * i, 2 * i + 2), 16);
  const { load } = prelude(new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports);

  const request = new DataView(new ArrayBuffer(24));
  const programs = new Map();
  let input = new Uint8Array(0);
  let started = false;

  function inputNumbers() {
    const view = new DataView(input.buffer);
    const numbers = [];
    for (let at = 0; at < input.length; at += 8) numbers.push(view.getBigInt64(at, true));
    return numbers;
  }

  function answer(status, detail, data) {
    const words = new TextEncoder().encode(detail);
    const whole = new Uint8Array(8 + words.length + data.length);
    const head = new DataView(whole.buffer);
    head.setUint32(0, status, true);
    head.setUint32(4, words.length, true);
    whole.set(words, 8);
    whole.set(data, 8 + words.length);
    return whole.buffer;
  }

  return function () {
    if (!started) {
      started = true;
      return request.buffer;
    }
    const program = request.getUint32(4, true);
    const length = request.getUint32(8, true);
    switch (request.getUint32(0, true)) {
      case RESERVE:
        input = new Uint8Array(length);
        return input.buffer;
      case LOAD:
        try {
          programs.set(program, load(new TextDecoder("utf-8", { ignoreBOM: true }).decode(input)));
          return answer(0, "", new Uint8Array(0));
        } catch (refusal) {
          return answer(1, refusal.message, new Uint8Array(0));
        }
      case RUN: {
        const isNumbers = length >>> 31 === 1;
        const run = programs.get(program);
        const [args, stdin] = isNumbers ? [inputNumbers(), new Uint8Array(0)] : [null, input];
        const { status, data, detail } = run(args, stdin, request.getBigUint64(16, true), request.getUint32(12, true));
        return answer(status, detail, data);
      }
      case FORGET:
        programs.delete(program);
        return answer(0, "", new Uint8Array(0));
    }
  };
}
