/** `node test/sandbox/build.mjs FOLDER`: the sandbox's page, and a page around it that tests drive, without the app. */

import { mkdir, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const folder = process.argv[2];
await mkdir(folder, { recursive: true });
const kernelScript = await scriptOf("src/sandbox/kernel_script.ts");
for (const [entry, file] of [
  ["src/sandbox/page.ts", "sandbox.html"],
  ["test/sandbox/page.ts", "index.html"],
]) {
  const script = (await scriptOf(entry, { __KERNEL_SCRIPT__: JSON.stringify(kernelScript) })).replaceAll(
    "</script",
    "<\\/script",
  );
  await writeFile(`${folder}/${file}`, `<!doctype html><meta charset="utf-8"><body><script>${script}</script>\n`);
}

async function scriptOf(entry, define = {}) {
  const [{ output }] = await build({
    configFile: false,
    root: fileURLToPath(new URL("../..", import.meta.url)),
    publicDir: false,
    logLevel: "warn",
    define,
    worker: { format: "iife" },
    build: { target: "es2022", write: false, lib: { entry, formats: ["iife"], name: "script", fileName: "script" } },
  });
  return output[0].code;
}
