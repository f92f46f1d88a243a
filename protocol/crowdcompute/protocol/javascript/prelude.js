// What stands between an engine and a task's JavaScript (protocol/spec/javascript.md): evaluated once in a realm of its
// own, before any task. It leaves one realm that is the same in every engine and that nothing can change any more.
//
//   const { load } = (0, eval)(PRELUDE)(libm);     libm: the exports of libm.wasm, or functions that give the same bits
//   const program = load(source);                  throws an Error whose message says why the source is refused
//   const { status, data, detail } = program(args, stdin, seed, outputBytesMax);
//
// Two parts: first the intrinsics are replaced, pruned to one list of names and frozen; then come `load` and what turns
// an outcome into bytes. Frozen intrinsics are also why two chunks need no two realms: a chunk evaluates its source
// anew, and all that it shares with the next one is what neither can write to.
(function (libm) {
  "use strict";

  const { apply, construct, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys } = Reflect;
  const { freeze, is } = Object;
  const objectPrototype = Object.prototype;
  const typedArray = getPrototypeOf(Uint8Array);
  const typedArrayPrototype = typedArray.prototype;
  const arrayIteratorPrototype = getPrototypeOf([][Symbol.iterator]());
  const generatorFunction = getPrototypeOf(function* () {}).constructor;
  const NativeFunction = Function;
  const NativeDate = Date;
  const typedArrayTag = getOwnPropertyDescriptor(typedArrayPrototype, Symbol.toStringTag).get;
  const realGlobal = globalThis;

  // ---- chance: xoshiro128++, whose state a chunk's seed fills through splitmix64

  const words = new Int32Array(4);

  function seedRandom(seed) {
    let state = BigInt.asUintN(64, seed);
    const word = () => {
      state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
      let z = state;
      z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
      z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
      return z ^ (z >> 31n);
    };
    [0, 2].forEach((half) => {
      const value = word();
      words[half] = Number(BigInt.asIntN(32, value));
      words[half + 1] = Number(BigInt.asIntN(32, value >> 32n));
    });
  }

  function random32() {
    const [s0, s1] = [words[0], words[1]];
    const sum = (s0 + words[3]) | 0;
    const s2 = words[2] ^ s0;
    const s3 = words[3] ^ s1;
    words[0] = s0 ^ s3;
    words[1] = s1 ^ s2;
    words[2] = s2 ^ (s1 << 9);
    words[3] = (s3 << 11) | (s3 >>> 21);
    return (((sum << 7) | (sum >>> 25)) + s0) >>> 0;
  }

  // ---- errors: those made by a task are told from those an engine makes, whose words differ between engines

  const errorNames = ["Error", "EvalError", "RangeError", "ReferenceError", "SyntaxError", "TypeError", "URIError"];
  const engineErrors = new Map(errorNames.map((name) => [realGlobal[name].prototype, name]));
  const madeByTask = new WeakSet();

  function errorConstructor(name, parent) {
    const Native = realGlobal[name];
    const Made = function (message, options) {
      const error = construct(Native, options === undefined ? [message] : [message, options], new.target || Made);
      if (message === undefined) deleteProperty(error, "message");
      for (const place of ["stack", "fileName", "lineNumber", "columnNumber"]) deleteProperty(error, place);
      madeByTask.add(error);
      return error;
    };
    Object.setPrototypeOf(Made, parent);
    replace(Native.prototype, "constructor", Made);
    defineProperty(Made, "prototype", { value: Native.prototype, writable: false, enumerable: false });
    describeFunction(Made, name, 1);
    replace(realGlobal, name, Made);
    return Made;
  }

  // ---- replacing what engines do differently

  function describeFunction(made, name, length) {
    defineProperty(made, "name", { value: name, writable: false, enumerable: false, configurable: true });
    defineProperty(made, "length", { value: length, writable: false, enumerable: false, configurable: true });
    return made;
  }

  function replace(owner, key, value) {
    defineProperty(owner, key, { value, writable: true, enumerable: false, configurable: true });
  }

  /** Give `owner` these methods, each with as many parameters as it writes down. */
  function methods(owner, table) {
    for (const key of ownKeys(table)) replace(owner, key, table[key]);
  }

  delete Error.stackTraceLimit; // V8 takes no stack traces then.
  const MadeError = errorConstructor("Error", NativeFunction.prototype);
  for (const name of errorNames.slice(1)) errorConstructor(name, MadeError);
  const { RangeError, TypeError } = realGlobal;

  // Text never becomes code: so all of a task's code is strict, and none of it sees the realm's real global object.
  const noEvaluation = (name, native) => {
    const made = function () {
      throw new TypeError("a task cannot make code from text");
    };
    defineProperty(made, "prototype", { value: native.prototype, writable: false });
    replace(native.prototype, "constructor", describeFunction(made, name, 1));
    return made;
  };
  replace(realGlobal, "Function", noEvaluation("Function", NativeFunction));
  for (const [kind, name] of [
    [generatorFunction, "GeneratorFunction"],
    [getPrototypeOf(async function () {}).constructor, "AsyncFunction"],
    [getPrototypeOf(async function* () {}).constructor, "AsyncGeneratorFunction"],
  ]) {
    noEvaluation(name, kind);
  }
  methods(NativeFunction.prototype, {
    toString() {
      if (typeof this !== "function") throw new TypeError("Function.prototype.toString needs a function");
      return "function () { [code] }";
    },
  });

  methods(Math, {
    random() {
      const high = random32() >>> 5;
      return (high * 67108864 + (random32() >>> 6)) / 9007199254740992;
    },
    acos: (x) => libm.acos(x),
    acosh: (x) => libm.acosh(x),
    asin: (x) => libm.asin(x),
    asinh: (x) => libm.asinh(x),
    atan: (x) => libm.atan(x),
    atan2: (y, x) => libm.atan2(y, x),
    atanh: (x) => libm.atanh(x),
    cbrt: (x) => libm.cbrt(x),
    cos: (x) => libm.cos(x),
    cosh: (x) => libm.cosh(x),
    exp: (x) => libm.exp(x),
    expm1: (x) => libm.expm1(x),
    log: (x) => libm.log(x),
    log10: (x) => libm.log10(x),
    log1p: (x) => libm.log1p(x),
    log2: (x) => libm.log2(x),
    sin: (x) => libm.sin(x),
    sinh: (x) => libm.sinh(x),
    tan: (x) => libm.tan(x),
    tanh: (x) => libm.tanh(x),
    // Where ECMAScript and C part ways: in ECMAScript 1 to the power of NaN or of infinity is NaN.
    pow(x, y) {
      const [base, exponent] = [+x, +y];
      if (exponent !== exponent || ((base === 1 || base === -1) && (exponent === Infinity || exponent === -Infinity))) {
        return NaN;
      }
      return libm.pow(base, exponent);
    },
    hypot(...values) {
      let [sum, infinite] = [0, false];
      for (let i = 0; i < values.length; i++) values[i] = +values[i];
      for (const value of values) {
        infinite ||= value === Infinity || value === -Infinity;
        sum = libm.hypot(sum, value);
      }
      return infinite ? Infinity : sum;
    },
  });
  describeFunction(Math.hypot, "hypot", 2);

  const nativeToString = Number.prototype.toString;
  const digits = "0123456789abcdefghijklmnopqrstuvwxyz";
  methods(Number.prototype, {
    toString(radix = 10) {
      const value = apply(Number.prototype.valueOf, this, []);
      const base = Math.trunc(radix) || 0;
      if (base < 2 || base > 36) throw new RangeError("a radix lies between 2 and 36");
      if (base === 10 || !Number.isFinite(value)) return apply(nativeToString, value, []);
      // Engines choose differently how many digits of a fraction they print: here as many as the bits of a float fill.
      const whole = Math.trunc(Math.abs(value));
      let text = (value < 0 ? "-" : "") + apply(bigToString, BigInt(whole), [base]);
      let fraction = Math.abs(value) - whole;
      if (fraction > 0) text += ".";
      for (let bits = 0; fraction > 0 && bits < 52; bits += Math.log2(base)) {
        fraction *= base;
        text += digits[Math.trunc(fraction)];
        fraction -= Math.trunc(fraction);
      }
      return text;
    },
    toLocaleString() {
      return apply(Number.prototype.toString, this, []);
    },
  });
  const bigToString = BigInt.prototype.toString;
  methods(BigInt.prototype, {
    toLocaleString() {
      return apply(bigToString, this, []);
    },
  });

  methods(String.prototype, {
    localeCompare(that) {
      const [a, b] = [String(this), String(that)];
      return a < b ? -1 : a > b ? 1 : 0;
    },
    toLocaleLowerCase() {
      return apply(String.prototype.toLowerCase, this, []);
    },
    toLocaleUpperCase() {
      return apply(String.prototype.toUpperCase, this, []);
    },
  });

  // A comparator that contradicts itself gives the order of the algorithm, so the algorithm must be one.
  function mergeSort(values, compare) {
    const length = values.length;
    let [from, to] = [values, new Array(length)];
    for (let i = 0; i < length; i += 8) {
      const end = Math.min(i + 8, length);
      for (let j = i + 1; j < end; j++) {
        const value = from[j];
        let k = j;
        for (; k > i && compare(from[k - 1], value) > 0; k--) from[k] = from[k - 1];
        from[k] = value;
      }
    }
    for (let width = 8; width < length; width *= 2) {
      for (let low = 0; low < length; low += 2 * width) {
        const [middle, high] = [Math.min(low + width, length), Math.min(low + 2 * width, length)];
        let [a, b] = [low, middle];
        for (let k = low; k < high; k++) {
          to[k] = a < middle && (b >= high || !(compare(from[a], from[b]) > 0)) ? from[a++] : from[b++];
        }
      }
      [from, to] = [to, from];
    }
    return from;
  }

  function byText(a, b) {
    const [x, y] = [String(a), String(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  }

  function checkedComparator(compare) {
    if (compare === undefined) return undefined;
    if (typeof compare !== "function") throw new TypeError("a comparator is a function");
    return (a, b) => +compare(a, b);
  }

  methods(Array.prototype, {
    sort(compare) {
      const comparator = checkedComparator(compare) || byText;
      const length = Math.min(Math.max(Math.trunc(this.length) || 0, 0), Number.MAX_SAFE_INTEGER);
      const values = [];
      let present = 0;
      for (let i = 0; i < length; i++) {
        if (!(i in this)) continue;
        present++;
        if (this[i] !== undefined) values.push(this[i]);
      }
      const sorted = mergeSort(values, comparator);
      for (let i = 0; i < sorted.length; i++) this[i] = sorted[i];
      for (let i = sorted.length; i < present; i++) this[i] = undefined;
      for (let i = present; i < length; i++) delete this[i];
      return this;
    },
    toSorted(compare) {
      checkedComparator(compare);
      return apply(Array.prototype.sort, Array.from({ length: this.length }, (_, i) => this[i]), [compare]);
    },
    toLocaleString() {
      return apply(Array.prototype.join, this, []);
    },
  });
  const numericSort = typedArrayPrototype.sort;
  methods(typedArrayPrototype, {
    sort(compare) {
      const comparator = checkedComparator(compare);
      if (comparator === undefined) return apply(numericSort, this, []);
      const sorted = mergeSort(Array.from(apply(typedArrayPrototype.values, this, [])), comparator);
      for (let i = 0; i < sorted.length; i++) this[i] = sorted[i];
      return this;
    },
    toSorted(compare) {
      checkedComparator(compare);
      return apply(typedArrayPrototype.sort, apply(typedArrayPrototype.slice, this, []), [compare]);
    },
    toLocaleString() {
      return apply(Array.prototype.join, this, []);
    },
  });

  // An engine may write any of the many NaNs.
  for (const name of ["setFloat32", "setFloat64"]) {
    const native = DataView.prototype[name];
    const canonical = name === "setFloat32" ? [0x7fc00000] : [0x7ff80000, 0];
    replace(
      DataView.prototype,
      name,
      describeFunction(
        {
          [name](offset, value, littleEndian) {
            const number = +value;
            apply(native, this, [offset, number, littleEndian]);
            if (number === number) return;
            const words = littleEndian ? canonical.toReversed() : canonical;
            for (let i = 0; i < words.length; i++) this.setUint32(+offset + 4 * i, words[i], littleEndian);
          },
        }[name],
        name,
        2,
      ),
    );
  }

  // A clock that stands still at the epoch, in a place where it is always UTC, and dates in ISO 8601 only.
  const isoDate = /^\d{4}(?:-\d\d(?:-\d\d)?)?(?:T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?(?:Z|[+-]\d\d:\d\d)?)?$/;
  function parseDate(text) {
    const written = String(text);
    if (!isoDate.test(written)) return NaN;
    // Without a zone a date with a time means local time, and here that is UTC.
    return NativeDate.parse(/T[^Z+-]*$/.test(written) ? `${written}Z` : written);
  }
  const dateUtc = NativeDate.UTC;
  const MadeDate = function Date(...parts) {
    if (!new.target) return new MadeDate().toString();
    let time = 0;
    if (parts.length === 1) {
      const part = parts[0];
      if (typeof part === "object" && part instanceof MadeDate) time = apply(NativeDate.prototype.getTime, part, []);
      else {
        const value = typeof part === "object" && part !== null ? part.valueOf() : part;
        time = typeof value === "string" ? parseDate(value) : Number(value);
      }
    } else if (parts.length > 1) time = dateUtc(...parts);
    return construct(NativeDate, [time], new.target);
  };
  defineProperty(MadeDate, "prototype", { value: NativeDate.prototype, writable: false });
  describeFunction(MadeDate, "Date", 7);
  methods(MadeDate, { UTC: dateUtc, now: () => 0, parse: (text) => parseDate(text) });
  replace(NativeDate.prototype, "constructor", MadeDate);
  replace(realGlobal, "Date", MadeDate);
  for (const part of ["Date", "Day", "FullYear", "Hours", "Milliseconds", "Minutes", "Month", "Seconds"]) {
    for (const verb of ["get", "set"]) {
      const native = NativeDate.prototype[`${verb}UTC${part}`];
      if (native !== undefined) replace(NativeDate.prototype, verb + part, native);
    }
  }
  const iso = (date) => (Number.isNaN(date.getTime()) ? "Invalid Date" : date.toISOString());
  methods(NativeDate.prototype, {
    getTimezoneOffset: () => 0,
    toString() {
      return iso(this);
    },
    toDateString() {
      return iso(this).slice(0, -14);
    },
    toTimeString() {
      return iso(this).slice(-13);
    },
    toUTCString() {
      return iso(this);
    },
    toLocaleString() {
      return iso(this);
    },
    toLocaleDateString() {
      return this.toDateString();
    },
    toLocaleTimeString() {
      return this.toTimeString();
    },
  });

  // Symbol's own properties cannot be deleted, and newer engines have more of them.
  const NativeSymbol = Symbol;
  const MadeSymbol = function Symbol(description) {
    if (new.target) throw new TypeError("Symbol is no constructor");
    return NativeSymbol(description);
  };
  for (const key of ownKeys(NativeSymbol)) replace(MadeSymbol, key, NativeSymbol[key]);
  defineProperty(MadeSymbol, "prototype", { value: NativeSymbol.prototype, writable: false });
  describeFunction(MadeSymbol, "Symbol", 0);
  replace(NativeSymbol.prototype, "constructor", MadeSymbol);
  replace(realGlobal, "Symbol", MadeSymbol);

  // Nor does Firefox let go of RegExp's own, which tell of the last match, whichever chunk made it.
  const NativeRegExp = RegExp;
  const MadeRegExp = function RegExp(pattern, flags) {
    const isExpression = typeof pattern === "object" && pattern !== null && pattern[Symbol.match];
    if (!new.target && flags === undefined && isExpression && pattern.constructor === MadeRegExp) return pattern;
    return construct(NativeRegExp, [pattern, flags], new.target || MadeRegExp);
  };
  defineProperty(MadeRegExp, "prototype", { value: NativeRegExp.prototype, writable: false });
  defineProperty(MadeRegExp, Symbol.species, getOwnPropertyDescriptor(NativeRegExp, Symbol.species));
  describeFunction(MadeRegExp, "RegExp", 2);
  replace(NativeRegExp.prototype, "constructor", MadeRegExp);
  replace(realGlobal, "RegExp", MadeRegExp);

  // ---- text and bytes: what a task needs and ECMAScript lacks

  const REPLACEMENT = 0xfffd;

  /** UTF-8 of `text`; half of a surrogate pair becomes U+FFFD. */
  function encodeUtf8(text) {
    const length = text.length;
    let size = 0;
    for (let i = 0; i < length; i++) {
      const unit = text.charCodeAt(i);
      size += unit < 0x80 ? 1 : unit < 0x800 ? 2 : 3;
    }
    const bytes = new Uint8Array(size); // A pair is counted as 6 bytes and takes 4.
    let end = 0;
    for (let i = 0; i < length; i++) {
      let code = text.charCodeAt(i);
      if (code >= 0xd800 && code < 0xe000) {
        code = text.codePointAt(i);
        if (code >= 0x10000) i++;
        else code = REPLACEMENT;
      }
      if (code < 0x80) bytes[end++] = code;
      else {
        if (code < 0x800) bytes[end++] = 0xc0 | (code >> 6);
        else {
          if (code < 0x10000) bytes[end++] = 0xe0 | (code >> 12);
          else {
            bytes[end++] = 0xf0 | (code >> 18);
            bytes[end++] = 0x80 | ((code >> 12) & 0x3f);
          }
          bytes[end++] = 0x80 | ((code >> 6) & 0x3f);
        }
        bytes[end++] = 0x80 | (code & 0x3f);
      }
    }
    return end === size ? bytes : bytes.slice(0, end);
  }

  /** Text of UTF-8 `bytes`; what is no UTF-8 becomes U+FFFD, as the Encoding Standard says. */
  function decodeUtf8(bytes, fatal) {
    const pieces = [];
    let units = [];
    let [code, needed, low, high] = [0, 0, 0x80, 0xbf];
    const emit = (point) => {
      if (point < 0x10000) units.push(point);
      else units.push(0xd800 | ((point - 0x10000) >> 10), 0xdc00 | ((point - 0x10000) & 0x3ff));
      if (units.length >= 8192) {
        pieces.push(apply(String.fromCharCode, null, units));
        units = [];
      }
    };
    const wrong = () => {
      if (fatal) throw new TypeError("the bytes are not UTF-8");
      emit(REPLACEMENT);
    };
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i];
      if (needed === 0) {
        if (byte < 0x80) emit(byte);
        else if (byte >= 0xc2 && byte < 0xe0) [needed, code] = [1, byte & 0x1f];
        else if (byte >= 0xe0 && byte < 0xf0) {
          if (byte === 0xe0) low = 0xa0;
          if (byte === 0xed) high = 0x9f;
          [needed, code] = [2, byte & 0xf];
        } else if (byte >= 0xf0 && byte < 0xf5) {
          if (byte === 0xf0) low = 0x90;
          if (byte === 0xf4) high = 0x8f;
          [needed, code] = [3, byte & 0x7];
        } else wrong();
      } else if (byte < low || byte > high) {
        [needed, low, high] = [0, 0x80, 0xbf];
        wrong();
        i--; // It may begin a character.
      } else {
        [low, high] = [0x80, 0xbf];
        code = (code << 6) | (byte & 0x3f);
        if (--needed === 0) emit(code);
      }
    }
    if (needed) wrong();
    pieces.push(apply(String.fromCharCode, null, units));
    return pieces.join("");
  }

  /** A view of the bytes of any typed array, DataView or ArrayBuffer; null for everything else. */
  function bytesOf(value) {
    if (value instanceof ArrayBuffer) return new Uint8Array(value);
    if (!ArrayBuffer.isView(value)) return null;
    const prototype = apply(typedArrayTag, value, []) === undefined ? DataView.prototype : typedArrayPrototype;
    const [buffer, offset, length] = ["buffer", "byteOffset", "byteLength"].map((name) =>
      apply(getOwnPropertyDescriptor(prototype, name).get, value, []),
    );
    return new Uint8Array(buffer, offset, length);
  }

  class TextEncoder {
    get encoding() {
      return "utf-8";
    }
    encode(text = "") {
      return encodeUtf8(String(text));
    }
  }
  class TextDecoder {
    #fatal;
    #keepsMark;
    constructor(label = "utf-8", options = {}) {
      if (!/^utf-?8$/i.test(label)) throw new RangeError("TextDecoder knows utf-8 only");
      this.#fatal = Boolean(options.fatal);
      this.#keepsMark = Boolean(options.ignoreBOM);
    }
    get encoding() {
      return "utf-8";
    }
    decode(value = new Uint8Array()) {
      const bytes = bytesOf(value);
      if (bytes === null) throw new TypeError("TextDecoder decodes bytes");
      const text = decodeUtf8(bytes, this.#fatal);
      return text.charCodeAt(0) === 0xfeff && !this.#keepsMark ? text.slice(1) : text;
    }
  }
  const silent = {};
  for (const name of ["debug", "error", "info", "log", "warn"]) silent[name] = describeFunction(() => {}, name, 0);

  // ---- pruning and freezing: what is on these lists, and nothing else, is there for a task

  const functionNames = "length name prototype";
  const typed = "Int8Array Uint8Array Uint8ClampedArray Int16Array Uint16Array Int32Array Uint32Array BigInt64Array " +
    "BigUint64Array Float32Array Float64Array";
  const listed = {
    Array: "@@species from isArray of",
    "Array.prototype":
      "@@iterator at concat constructor copyWithin entries every fill filter find findIndex findLast findLastIndex flat " +
      "flatMap forEach includes indexOf join keys lastIndexOf length map pop push reduce reduceRight reverse shift slice " +
      "some sort splice toLocaleString toReversed toSorted toSpliced toString unshift values with",
    ArrayBuffer: "@@species isView",
    "ArrayBuffer.prototype": "@@toStringTag byteLength constructor slice",
    BigInt: "asIntN asUintN",
    "BigInt.prototype": "@@toStringTag constructor toLocaleString toString valueOf",
    Boolean: "",
    "Boolean.prototype": "constructor toString valueOf",
    DataView: "",
    "DataView.prototype":
      "@@toStringTag buffer byteLength byteOffset constructor getBigInt64 getBigUint64 getFloat32 getFloat64 getInt16 " +
      "getInt32 getInt8 getUint16 getUint32 getUint8 setBigInt64 setBigUint64 setFloat32 setFloat64 setInt16 setInt32 " +
      "setInt8 setUint16 setUint32 setUint8",
    Date: "UTC now parse",
    "Date.prototype":
      "@@toPrimitive constructor getDate getDay getFullYear getHours getMilliseconds getMinutes getMonth getSeconds " +
      "getTime getTimezoneOffset getUTCDate getUTCDay getUTCFullYear getUTCHours getUTCMilliseconds getUTCMinutes " +
      "getUTCMonth getUTCSeconds setDate setFullYear setHours setMilliseconds setMinutes setMonth setSeconds setTime " +
      "setUTCDate setUTCFullYear setUTCHours setUTCMilliseconds setUTCMinutes setUTCMonth setUTCSeconds toDateString " +
      "toISOString toJSON toLocaleDateString toLocaleString toLocaleTimeString toString toTimeString toUTCString valueOf",
    Error: "",
    "Error.prototype": "constructor message name toString",
    Function: "",
    "Function.prototype": "@@hasInstance apply bind call constructor length name toString",
    JSON: "@@toStringTag parse stringify",
    Map: "@@species",
    "Map.prototype": "@@iterator @@toStringTag clear constructor delete entries forEach get has keys set size values",
    Math:
      "@@toStringTag E LN10 LN2 LOG10E LOG2E PI SQRT1_2 SQRT2 abs acos acosh asin asinh atan atan2 atanh cbrt ceil clz32 " +
      "cos cosh exp expm1 floor fround hypot imul log log10 log1p log2 max min pow random round sign sin sinh sqrt tan " +
      "tanh trunc",
    Number:
      "EPSILON MAX_SAFE_INTEGER MAX_VALUE MIN_SAFE_INTEGER MIN_VALUE NEGATIVE_INFINITY NaN POSITIVE_INFINITY isFinite " +
      "isInteger isNaN isSafeInteger parseFloat parseInt",
    "Number.prototype": "constructor toExponential toFixed toLocaleString toPrecision toString valueOf",
    Object:
      "assign create defineProperties defineProperty entries freeze fromEntries getOwnPropertyDescriptor " +
      "getOwnPropertyDescriptors getOwnPropertyNames getOwnPropertySymbols getPrototypeOf hasOwn is isExtensible " +
      "isFrozen isSealed keys preventExtensions seal setPrototypeOf values",
    "Object.prototype":
      "__proto__ constructor hasOwnProperty isPrototypeOf propertyIsEnumerable toLocaleString toString valueOf",
    Proxy: "revocable",
    Reflect:
      "@@toStringTag apply construct defineProperty deleteProperty get getOwnPropertyDescriptor getPrototypeOf has " +
      "isExtensible ownKeys preventExtensions set setPrototypeOf",
    RegExp: "@@species",
    "RegExp.prototype":
      "@@match @@matchAll @@replace @@search @@split constructor dotAll exec flags global hasIndices ignoreCase multiline " +
      "source sticky test toString unicode unicodeSets",
    Set: "@@species",
    "Set.prototype": "@@iterator @@toStringTag add clear constructor delete entries forEach has keys size values",
    String: "fromCharCode fromCodePoint raw",
    "String.prototype":
      "@@iterator at charAt charCodeAt codePointAt concat constructor endsWith includes indexOf lastIndexOf length " +
      "localeCompare match matchAll normalize padEnd padStart repeat replace replaceAll search slice split startsWith " +
      "substr substring toLocaleLowerCase toLocaleUpperCase toLowerCase toString toUpperCase trim trimEnd trimLeft " +
      "trimRight trimStart valueOf",
    Symbol:
      "asyncIterator for hasInstance isConcatSpreadable iterator keyFor match matchAll replace search species split " +
      "toPrimitive toStringTag unscopables",
    "Symbol.prototype": "@@toPrimitive @@toStringTag constructor description toString valueOf",
    TextDecoder: "",
    "TextDecoder.prototype": "constructor decode encoding",
    TextEncoder: "",
    "TextEncoder.prototype": "constructor encode encoding",
    WeakMap: "",
    "WeakMap.prototype": "@@toStringTag constructor delete get has set",
    WeakSet: "",
    "WeakSet.prototype": "@@toStringTag add constructor delete has",
  };
  for (const name of errorNames.slice(1)) {
    listed[name] = "";
    listed[`${name}.prototype`] = "constructor message name";
  }
  for (const name of typed.split(" ")) {
    listed[name] = "BYTES_PER_ELEMENT";
    listed[`${name}.prototype`] = "BYTES_PER_ELEMENT constructor";
  }
  const hidden = [
    [typedArray, `@@species from of ${functionNames}`],
    [
      typedArrayPrototype,
      "@@iterator @@toStringTag at buffer byteLength byteOffset constructor copyWithin entries every fill filter find " +
        "findIndex findLast findLastIndex forEach includes indexOf join keys lastIndexOf length map reduce reduceRight " +
        "reverse set slice some sort subarray toLocaleString toReversed toSorted toString values with",
    ],
    [getPrototypeOf(arrayIteratorPrototype), "@@iterator"],
    [generatorFunction.prototype, "@@toStringTag constructor prototype"],
    [generatorFunction.prototype.prototype, "@@toStringTag constructor next return throw"],
    ...[[], "", new Map(), new Set()].map((value) => [getPrototypeOf(value[Symbol.iterator]()), "@@toStringTag next"]),
    [getPrototypeOf(/./[Symbol.matchAll]("")), "@@toStringTag next"],
  ];
  const globalNames = new Set(
    [
      "Infinity NaN console decodeURI decodeURIComponent encodeURI encodeURIComponent globalThis isFinite isNaN",
      "parseFloat parseInt undefined",
      ...Object.keys(listed).filter((name) => !name.includes(".")),
    ].flatMap((names) => names.split(" ")),
  );

  function spelled(key) {
    return typeof key === "symbol" ? `@@${key.description.replace(/^Symbol\./, "")}` : key;
  }

  function prune(owner, names) {
    const kept = new Set(names.split(" "));
    for (const key of ownKeys(owner)) if (!kept.has(spelled(key))) deleteProperty(owner, key);
    for (const key of ownKeys(owner)) {
      if (!kept.has(spelled(key))) throw new Error(`this engine does not let go of ${spelled(key)}`);
    }
    for (const name of kept) {
      if (name && !ownKeys(owner).some((key) => spelled(key) === name)) throw new Error(`this engine lacks ${name}`);
    }
  }

  methods(realGlobal, { TextDecoder, TextEncoder, console: silent });
  replace(Number, "parseFloat", parseFloat);
  replace(Number, "parseInt", parseInt);
  const globalValues = {};
  for (const name of globalNames) {
    if (!(name in realGlobal)) throw new Error(`this engine lacks ${name}`);
    globalValues[name] = realGlobal[name];
  }
  for (const [place, names] of Object.entries(listed)) {
    const [name, isPrototype] = place.split(".");
    const constructor = globalValues[name];
    if (isPrototype) prune(constructor.prototype, names);
    else if (typeof constructor === "object") prune(constructor, names);
    else prune(constructor, name === "Proxy" ? `length name ${names}` : `${functionNames} ${names}`.trim());
  }
  for (const [owner, names] of hidden) prune(owner, names);

  // The task's globalThis is an ordinary object, for the real one has a prototype of the browser's own.
  const taskGlobal = {};
  for (const [name, value] of Object.entries(globalValues)) replace(taskGlobal, name, value);
  replace(taskGlobal, "globalThis", taskGlobal);
  for (let holder = realGlobal; holder !== null && holder !== objectPrototype; holder = getPrototypeOf(holder)) {
    for (const key of ownKeys(holder)) {
      if (holder === realGlobal && (globalNames.has(key) || is(holder[key], undefined))) continue;
      deleteProperty(holder, key);
    }
  }
  // What cannot be deleted is hidden from a task behind parameters of the same names.
  const shadowed = ["globalThis"];
  for (let holder = realGlobal; holder !== null && holder !== objectPrototype; holder = getPrototypeOf(holder)) {
    for (const key of ownKeys(holder)) {
      if (typeof key === "string" && !globalNames.has(key) && /^[\w$]+$/.test(key)) shadowed.push(key);
    }
  }

  // A frozen prototype would forbid its heirs to have a property of the same name, so these are given a setter that
  // gives the heir one of its own.
  function letHeirsOverride(prototype, key) {
    const descriptor = getOwnPropertyDescriptor(prototype, key);
    if (!descriptor || !("value" in descriptor) || !descriptor.configurable) return;
    const value = descriptor.value;
    defineProperty(prototype, key, {
      get: freeze(describeFunction(() => value, spelled(key), 0)),
      set: freeze(
        describeFunction(
          {
            set(own) {
              if (this === prototype) throw new TypeError("what all tasks share cannot be changed");
              defineProperty(this, key, { value: own, writable: true, enumerable: true, configurable: true });
            },
          }.set,
          spelled(key),
          1,
        ),
      ),
      enumerable: false,
      configurable: false,
    });
  }
  for (const key of ownKeys(objectPrototype)) letHeirsOverride(objectPrototype, key);
  for (const key of ["bind", "call", "apply", "toString"]) letHeirsOverride(NativeFunction.prototype, key);
  for (const prototype of engineErrors.keys()) {
    for (const key of ownKeys(prototype)) letHeirsOverride(prototype, key);
  }
  for (const owner of [Array, Map, Set, Date]) {
    for (const key of ["toString", "valueOf"]) letHeirsOverride(owner.prototype, key);
  }
  for (const key of ["next", "return", "throw"]) letHeirsOverride(generatorFunction.prototype.prototype, key);

  const frozen = new Set();
  function freezeDeep(value) {
    if ((typeof value !== "object" && typeof value !== "function") || value === null || frozen.has(value)) return;
    if (value === realGlobal) return;
    frozen.add(value);
    freeze(value);
    freezeDeep(getPrototypeOf(value));
    for (const key of ownKeys(value)) {
      const descriptor = getOwnPropertyDescriptor(value, key);
      for (const part of ["value", "get", "set"]) freezeDeep(descriptor[part]);
    }
  }
  for (const [owner] of hidden) freezeDeep(owner);
  freezeDeep(getPrototypeOf(async function () {}));
  freezeDeep(getPrototypeOf(async function* () {}));
  freezeDeep(taskGlobal);
  for (const key of ownKeys(realGlobal)) {
    const descriptor = getOwnPropertyDescriptor(realGlobal, key);
    if (descriptor.configurable && "value" in descriptor) {
      defineProperty(realGlobal, key, { value: descriptor.value, writable: false, configurable: false });
    }
  }

  // ---- from source to program

  const WORDS = /(?<![\w$])(?:async|await|import)(?![\w$])/;
  const NAMED = /^function\s+([\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*)/u;
  const ANONYMOUS = /^function\s*\(/;
  const MAIN = "crowdcompute$main";

  function lineOf(source, index) {
    return source.slice(0, index).split("\n").length;
  }

  /** The body of a function that returns what `source` exports. */
  function bodyOf(source) {
    const word = WORDS.exec(source);
    if (word) {
      throw new MadeError(
        `line ${lineOf(source, word.index)}: the word '${word[0]}' must not occur, not even in a comment or a text: ` +
          "a task is one file, computes at once and returns its result",
      );
    }
    const comment = /<!--|^\s*-->/m.exec(source);
    if (comment) throw new MadeError(`line ${lineOf(source, comment.index)}: no HTML comments`);
    if (source.includes(MAIN)) throw new MadeError(`the name ${MAIN} is taken`);
    const exports = [...source.matchAll(/^[ \t]*export(?![\w$])/gm)];
    const main = /^export[ \t]+default(?![\w$])[ \t]*/m.exec(source);
    if (exports.length !== 1 || !main) {
      throw new MadeError(
        `exactly one line begins with 'export default', and none with another 'export'; found ${exports.length}`,
      );
    }
    const [before, after] = [source.slice(0, main.index), source.slice(main.index + main[0].length)];
    const named = NAMED.exec(after);
    if (named) return `${before}${after}\nreturn ${named[1]};`;
    if (ANONYMOUS.test(after)) return `${before}function ${MAIN}${after.slice(8)}\nreturn ${MAIN};`;
    return `${before}const ${MAIN} = ${after}\nreturn ${MAIN};`;
  }

  /** A function that evaluates the source anew and returns what it exports. */
  function compile(source) {
    const body = bodyOf(source);
    try {
      // A brace too many must not end the function around it, and not every engine sees to that. What could follow such
      // a brace in one of these forms could not in another.
      for (const form of [body, `{${body}\n}`, `({method(){${body}\n}})`]) new NativeFunction(`"use strict";${form}`);
      return new NativeFunction(...shadowed, `"use strict";return function(){${body}\n}`)(taskGlobal);
    } catch (error) {
      throw new MadeError(`${error.name}: ${error.message}`);
    }
  }

  // ---- from a chunk's end to bytes

  const OK = 0;
  const TASK_ERROR = 1;
  const NO_RESULT = 2;
  const ERROR_BYTES_MAX = 4096;
  const DEPTH_MAX = 200;
  const VOTED_ERRORS = new Set(["EvalError", "ReferenceError", "SyntaxError", "TypeError", "URIError"]);

  /** A result that cannot be told to others in bytes; part of the vote. */
  class Refusal {
    constructor(text) {
      this.text = text;
    }
  }

  function canonicalJson(value, depth) {
    if (depth > DEPTH_MAX) throw new Refusal(`the result is nested deeper than ${DEPTH_MAX} levels, or contains itself`);
    switch (typeof value) {
      case "string":
        return JSON.stringify(value);
      case "boolean":
        return value ? "true" : "false";
      case "number":
        if (!Number.isFinite(value)) throw new Refusal(`the result contains ${value}, which JSON cannot say`);
        return is(value, -0) ? "0" : `${value}`;
      case "object":
        break;
      default:
        throw new Refusal(`the result contains a value of type ${typeof value}, which JSON cannot say`);
    }
    if (value === null) return "null";
    const parts = [];
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) parts.push(canonicalJson(value[i], depth + 1));
      return `[${parts.join(",")}]`;
    }
    const prototype = getPrototypeOf(value);
    if (prototype !== objectPrototype && prototype !== null) {
      throw new Refusal("the result contains an object that is neither plain nor an array");
    }
    for (const key of Object.keys(value).sort()) {
      parts.push(`${JSON.stringify(key)}:${canonicalJson(value[key], depth + 1)}`);
    }
    return `{${parts.join(",")}}`;
  }

  function canonicalNans(values) {
    const bytes = new DataView(new ArrayBuffer(values.length * values.BYTES_PER_ELEMENT));
    const name = values.BYTES_PER_ELEMENT === 4 ? "setFloat32" : "setFloat64";
    for (let i = 0; i < values.length; i++) bytes[name](i * values.BYTES_PER_ELEMENT, values[i], true);
    return new Uint8Array(bytes.buffer);
  }

  function resultBytes(value) {
    if (value === undefined) throw new Refusal("the function returned nothing: return bytes, a string or a JSON value");
    if (typeof value === "string") return encodeUtf8(value);
    if (value instanceof Float32Array || value instanceof Float64Array) return canonicalNans(value);
    const bytes = bytesOf(value);
    return bytes === null ? encodeUtf8(canonicalJson(value, 0)) : new Uint8Array(bytes);
  }

  function textOf(value) {
    return typeof value === "string" ? value : "";
  }

  function taskError(text, detail) {
    return { status: TASK_ERROR, data: encodeUtf8(text.slice(0, ERROR_BYTES_MAX)).slice(0, ERROR_BYTES_MAX), detail };
  }

  function noResult(detail) {
    return { status: NO_RESULT, data: new Uint8Array(0), detail: detail.slice(0, 500) };
  }

  /** How a chunk ends that threw `thrown`. Reading it may run the task's code, and so throw again. */
  function endOfThrown(thrown) {
    if (thrown instanceof Refusal) return taskError(thrown.text, "");
    if (typeof thrown === "string") return taskError(thrown, "");
    // An interpreter without memory may throw anything, null included.
    if (typeof thrown !== "object" || thrown === null) return noResult("something was thrown that is no Error");
    if (madeByTask.has(thrown)) return taskError(textOf(thrown.message), textOf(thrown.name));
    const name = engineErrors.get(getPrototypeOf(thrown));
    const detail = `${textOf(thrown.name) || "something was thrown that is no Error"}: ${textOf(thrown.message)}`;
    // The engine's own words differ, so the vote has the error's name alone. And which limit an engine has, differs too:
    // most of its RangeErrors are stacks or memory that have ended.
    return VOTED_ERRORS.has(name) ? taskError(name, detail) : noResult(detail);
  }

  function execute(evaluate, args, stdin, seed, outputBytesMax) {
    seedRandom(seed);
    try {
      const numbers = (args || []).map((argument) => {
        const number = Number(argument);
        if (!Number.isSafeInteger(number)) {
          throw new Refusal(`the argument ${argument} is beyond 2^53 - 1 and does not fit a Number`);
        }
        return number;
      });
      const main = evaluate();
      if (typeof main !== "function") throw new Refusal("the default export is no function");
      const data = resultBytes(main(numbers, stdin));
      return data.length > outputBytesMax ? noResult("output limit") : { status: OK, data, detail: "" };
    } catch (thrown) {
      try {
        return endOfThrown(thrown);
      } catch (again) {
        return noResult("what was thrown throws when looked at");
      }
    }
  }

  return freeze({
    /**
     * Compile a task's source.
     *
     * @param {string} source
     * @returns {(args: bigint[] | null, stdin: Uint8Array, seed: bigint, outputBytesMax: number) =>
     *   { status: 0 | 1 | 2, data: Uint8Array, detail: string }} executes one chunk; never throws
     */
    load(source) {
      const evaluate = compile(source);
      return (args, stdin, seed, outputBytesMax) => execute(evaluate, args, stdin, seed, outputBytesMax);
    },
  });
})
