import { fileURLToPath } from "node:url";
import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

/** `npx vite --config test/preview/vite.config.ts`: the screens alone, fed with recorded states. */
export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  publicDir: fileURLToPath(new URL("../../public", import.meta.url)),
  plugins: [preact()],
  server: { fs: { allow: ["../.."] } },
});
