// One tile of a picture: particles drift through a field of waves and leave light where they pass.
//
// In:  [x, y, width, height], a tile of the 512 x 512 picture (a `grid` split).
// Out: width * height bytes, row by row: how bright each pixel is.
//
// Nearly every step calls sin, cos, exp, log or pow, each of which browsers compute differently by themselves. Every
// peer gets the same bytes here, because a task's Math is one library everywhere (protocol/spec/javascript.md).

const PICTURE = 512;
const STEPS = 40;
const STEP = 0.006;
const WAVES = 7;

/** Waves that every chunk knows, whatever its seed: the picture must fit together. */
const waves = Array.from({ length: WAVES }, (_, index) => {
  const angle = index * index * 1.7;
  const length = 3 + 4 * index;
  return { x: length * Math.cos(angle), y: length * Math.sin(angle), phase: index * 2.4, height: Math.pow(0.72, index) };
});

/** Which way a particle at (x, y) drifts. */
function direction(x, y) {
  let turn = 0;
  for (const wave of waves) turn += wave.height * Math.sin(wave.x * x + wave.y * y + wave.phase);
  return 2.2 * turn;
}

/** How much light a particle meets on its way from the middle of a pixel, both forwards and backwards. */
function light(x, y) {
  let sum = 0;
  for (const sign of [1, -1]) {
    let [px, py] = [x, y];
    for (let step = 0; step < STEPS; step++) {
      const angle = direction(px, py);
      px += sign * STEP * Math.cos(angle);
      py += sign * STEP * Math.sin(angle);
      const grain = Math.sin(127.1 * Math.floor(px * 160) + 311.7 * Math.floor(py * 160)) * 43758.5453;
      sum += (grain - Math.floor(grain)) * Math.exp(-3 * (step / STEPS));
    }
  }
  return sum;
}

export default function ([left, top, width, height]) {
  const pixels = new Uint8Array(width * height);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const [x, y] = [(left + column + 0.5) / PICTURE, (top + row + 0.5) / PICTURE];
      const brightness = Math.tanh(Math.log1p(light(x, y)) - 3.2) * 2.4 + 0.5;
      pixels[row * width + column] = Math.min(255, Math.max(0, Math.round(255 * brightness)));
    }
  }
  return pixels;
}
