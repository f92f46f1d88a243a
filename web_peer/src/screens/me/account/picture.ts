/** A person's picture made small enough for what an account says of itself (protocol/accounts.ts). */

/** As protocol/accounts.ts has it, which the page itself does not load. */
const AVATAR_BYTES_MAX = 4_096;
/** Edges to try: the largest whose PNG is small enough counts. */
const EDGES = [64, 48, 32, 24, 16];

/** The middle of a picture as a small square PNG. */
export async function smallPicture(file: Blob): Promise<Uint8Array> {
  const whole = await createImageBitmap(file).catch(() => {
    throw new Error("This file is no picture that this browser can read.");
  });
  const side = Math.min(whole.width, whole.height);
  const [left, top] = [(whole.width - side) / 2, (whole.height - side) / 2];
  for (const edge of EDGES) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = edge;
    const brush = canvas.getContext("2d")!;
    brush.imageSmoothingQuality = "high";
    brush.drawImage(whole, left, top, side, side, 0, 0, edge, edge);
    const png = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
    if (png !== null && png.size <= AVATAR_BYTES_MAX) return new Uint8Array(await png.arrayBuffer());
  }
  throw new Error("This picture does not get small enough: choose another one.");
}
