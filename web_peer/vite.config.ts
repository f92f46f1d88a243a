import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import preact from "@preact/preset-vite";
import { build, type Plugin } from "vite";
import { defineConfig } from "vitest/config";

/**
 * What may be fetched, compressed, between opening a join link and reading the question: a second on a slow phone.
 * Beyond it the build fails.
 */
const FIRST_LOAD_BYTES_MAX = 60_000;

const SANDBOX_PAGE = "src/sandbox/page.ts";
const KERNEL_SCRIPT = "src/sandbox/kernel_script.ts";
const SOFTWARE = "src/protocol/software.ts";
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

/** `virtual:kernel`: what GPU tasks run in, as text, for it goes into the sandbox, which can load nothing. */
function kernelScript(): Plugin {
  return {
    name: "kernel-script",
    resolveId: (id) => (id === "virtual:kernel" ? `\0${id}` : null),
    async load(id) {
      if (id !== "\0virtual:kernel") return null;
      return `export const script = ${JSON.stringify(await asOneScript(KERNEL_SCRIPT))};`;
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

/**
 * Ed25519 in software gets a noble of its own: a module that two parts share comes whole with the part that is fetched
 * first, and most browsers never fetch this one.
 */
function softwareApart(): Plugin {
  const apart = "?apart";
  return {
    name: "software-apart",
    apply: "build",
    enforce: "pre",
    async resolveId(source, importer, options) {
      const isInside = importer?.endsWith(apart) ?? false;
      const isEntered = source.startsWith("@noble/") && (importer?.endsWith(SOFTWARE) ?? false);
      if (!isInside && !isEntered) return null;
      const found = await this.resolve(source, importer?.replace(apart, ""), { ...options, skipSelf: true });
      return found === null ? null : `${found.id}${apart}`;
    },
  };
}

/**
 * `import()` as it stands. Vite's own brings along what loads modules and styles beforehand, 600 bytes of the first load;
 * none is loaded beforehand here, and the one style of the later screens is fetched by hand (app.tsx).
 */
function plainImports(): Plugin {
  const helper = "\0vite/preload-helper.js";
  return {
    name: "plain-imports",
    apply: "build",
    enforce: "pre",
    resolveId: (id) => (id === helper ? id : null),
    load: (id) => (id === helper ? "export const __vitePreload = (load) => load();" : null),
  };
}

/** Holds the first load to its budget: the document, its script and style, the peer's Worker, and all these import. */
function firstLoad(): Plugin {
  return {
    name: "first-load",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        const first = Object.keys(bundle).filter((name) => /^index\.html$|^assets\/(first|peer\.worker)-/.test(name));
        const sizes = new Map<string, number>();
        for (const name of first) {
          const file = bundle[name]!;
          const content = file.type === "chunk" ? file.code : Buffer.from(file.source);
          sizes.set(name, gzipSync(content, { level: 9 }).length);
          const imported = content.toString().matchAll(/(?:from|import)"\.\/([^"]+)"/g);
          for (const [, each] of imported) if (!first.includes(`assets/${each}`)) first.push(`assets/${each}`);
        }
        const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
        const listed = [...sizes].map(([name, size]) => `${name} ${size}`).join(", ");
        if (sizes.size < 4) this.error(`the first load is not what this plugin looks for: ${listed}`);
        if (total > FIRST_LOAD_BYTES_MAX) {
          this.error(`the first load has ${total} bytes compressed, ${FIRST_LOAD_BYTES_MAX} may be: ${listed}`);
        }
      },
    },
  };
}

/** All that an entry imports at once in one file: what it shared with later parts would be fetched a round trip later. */
function asOneFile(entry: RegExp) {
  return { output: { codeSplitting: { groups: [{ name: "first", test: entry }] } } };
}

export default defineConfig({
  plugins: [plainImports(), preact(), sandboxPage(), serviceWorker(), firstLoad()],
  worker: { format: "es", plugins: () => [softwareApart(), kernelScript()], rolldownOptions: asOneFile(/peer\.worker/) },
  build: {
    ...{ target: "es2022", sourcemap: false, assetsInlineLimit: 0, modulePreload: false },
    rolldownOptions: asOneFile(/src\/main\.tsx/),
  },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000 },
});
