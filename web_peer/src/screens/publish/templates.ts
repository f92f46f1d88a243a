/** Tasks that work as they stand, to be changed. Both use only arithmetic that every JavaScript engine does alike. */

export interface Template {
  readonly title: string;
  readonly cut: "range" | "grid";
  readonly source: string;
}

const COUNT_PRIMES = `// A chunk gets two numbers: where it begins, and where the next one begins.
export default function (args, stdin) {
  const [first, end] = args.map(Number);
  let primes = 0;
  for (let number = Math.max(2, first); number < end; number++) {
    let isPrime = true;
    for (let divisor = 2; divisor * divisor <= number; divisor++) {
      if (number % divisor === 0) {
        isPrime = false;
        break;
      }
    }
    if (isPrime) primes++;
  }
  return { first, end, primes };
}
`;

const DRAW = `// A chunk gets one tile: x, y, width, height. Three bytes a pixel make a picture: red, green, blue.
const SIZE = 512;
const STEPS = 400;

export default function (args, stdin) {
  const [left, top, width, height] = args.map(Number);
  const pixels = new Uint8Array(width * height * 3);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const a = ((left + column) / SIZE) * 3 - 2.1;
      const b = ((top + row) / SIZE) * 3 - 1.5;
      let x = 0;
      let y = 0;
      let step = 0;
      while (step < STEPS && x * x + y * y < 4) {
        const next = x * x - y * y + a;
        y = 2 * x * y + b;
        x = next;
        step++;
      }
      const at = (row * width + column) * 3;
      if (step < STEPS) {
        pixels[at] = (step * 5) % 256;
        pixels[at + 1] = (step * 9) % 256;
        pixels[at + 2] = 96 + ((step * 13) % 160);
      }
    }
  }
  return pixels;
}
`;

export const TEMPLATES: readonly Template[] = [
  { title: "Count something in a range of numbers", cut: "range", source: COUNT_PRIMES },
  { title: "Draw a picture in tiles", cut: "grid", source: DRAW },
];
