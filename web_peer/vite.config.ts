import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";

import preact from "@preact/preset-vite";
import { build, type Plugin } from "vite";
import { defineConfig } from "vitest/config";

const SANDBOX_PAGE = "src/sandbox/page.ts";
const SERVICE_WORKER = "src/service_worker.ts";

/** One module and all it imports as one classic script, for places that can load nothing else. */
async function asOneScript(entry: string, define: Record<string, string> = {}): Promise<string> {
  const built = await build({
    configFile: false,
    root: fileURLToPath(new URL(".", import.meta.url)),
    publicDir: false,
    logLevel: "warn",
    define: { "process.env.NODE_ENV": '"production"', ...define },
    worker: { format: "iife" },
    build: {
      target: "es2022",
      write: false,
      lib: { entry, formats: ["iife"], name: "script", fileName: "script" },
    },
  });
  const [first] = [built].flat();
  const chunk = first !== undefined && "output" in first ? first.output[0] : undefined;
  if (chunk?.type !== "chunk") throw new Error(`${entry} gave no script`);
  return chunk.code;
}

/**
 * /sandbox.html: the document that strangers' code runs below. It can load nothing, so all of it is in the one file. The
 * page learns its address, which names the content, from `virtual:sandbox`.
 */
function sandboxPage(): Plugin {
  const page = async (): Promise<string> => {
    const script = (await asOneScript(SANDBOX_PAGE)).replaceAll("</script", "<\\/script");
    return `<!doctype html><meta charset="utf-8"><title>Sandbox</title><script>${script}</script>\n`;
  };
  return {
    name: "sandbox-page",
    resolveId: (id) => (id === "virtual:sandbox" ? `\0${id}` : null),
    async load(id) {
      if (id !== "\0virtual:sandbox") return null;
      const version = createHash("sha256").update(await page()).digest("hex").slice(0, 16);
      return `export const sandboxUrl = "/sandbox.html?${version}";`;
    },
    async generateBundle() {
      this.emitFile({ type: "asset", fileName: "sandbox.html", source: await page() });
    },
    configureServer(server) {
      server.middlewares.use("/sandbox.html", (_request, response, next) => {
        page().then((html) => response.setHeader("Content-Type", "text/html").end(html), next);
      });
    },
  };
}

/** /sw.js: keeps the page usable without the server. It is told what this build consists of, and so changes with it. */
function serviceWorker(): Plugin {
  return {
    name: "service-worker",
    apply: "build",
    generateBundle: {
      order: "post",
      async handler(_options, bundle) {
        const files = Object.values(bundle).filter((file) => file.fileName !== "index.html");
        const version = createHash("sha256");
        for (const file of files) version.update(file.type === "chunk" ? file.code : file.source);
        const source = await asOneScript(SERVICE_WORKER, {
          __FILES__: JSON.stringify(["/", ...files.map((file) => `/${file.fileName}`)]),
          __VERSION__: JSON.stringify(version.digest("hex").slice(0, 16)),
        });
        this.emitFile({ type: "asset", fileName: "sw.js", source });
      },
    },
  };
}

export default defineConfig({
  plugins: [preact(), sandboxPage(), serviceWorker()],
  worker: { format: "es" },
  build: { target: "es2022", sourcemap: false, assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
