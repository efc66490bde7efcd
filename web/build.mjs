// Builds everything a browser gets from the relay into one folder, and fails when it has grown too heavy.
//
//   FEEDBACK_CLIENT_PKG   where wasm-bindgen (--target web) wrote the browser module
//   FEEDBACK_BUNDLE       where to write; relay/bundle when unset

import { build } from "esbuild";
import { copyFile, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const web = dirname(fileURLToPath(import.meta.url));
const source = join(web, "src");
const bundle = resolve(process.env.FEEDBACK_BUNDLE ?? join(web, "..", "relay", "bundle"));
const pages = ["admin", "receiver", "demo"];

// Brotli bytes. The loader runs on every page of every user; the module only after an opt-in.
const limits = [
  { what: "loader", files: ["snippet.js"], bytes_max: 2048 },
  { what: "module", files: ["client.js", "client_bg.wasm"], bytes_max: 16384 },
];

if (!process.env.FEEDBACK_CLIENT_PKG) {
  console.error("FEEDBACK_CLIENT_PKG is not set: it names the folder with feedback_client.js and feedback_client_bg.wasm");
  process.exit(2);
}
const pkg = resolve(process.env.FEEDBACK_CLIENT_PKG);

// esbuild builds a namespace, as in `import * as`, by walking over an object's keys, and would take along what a page added to
// all objects. So the glue's namespaces become plain objects of named imports.
const namedImports = {
  name: "named imports",
  setup({ onLoad }) {
    onLoad({ filter: /feedback_client\.js$/ }, async ({ path }) => {
      const glue = await readFile(path, "utf8");
      const page = await Promise.all([...glue.matchAll(/import \* as (\w+) from ["'](\..+?)["'];?/g)].map(async ([line, name, file]) => {
        const text = await readFile(join(dirname(path), file), "utf8");
        const names = [...text.matchAll(/^export (?:const|function) (\w+)/gm)].map(([, found]) => found);
        const imports = names.map((found) => `${found} as ${name}_${found}`);
        const members = names.map((found) => `${found}: ${name}_${found}`);
        return [line, `import { ${imports} } from "${file}"; const ${name} = { __proto__: null, ${members} };`];
      }));
      return { contents: page.reduce((text, [line, instead]) => text.replace(line, instead), glue), loader: "js" };
    });
  },
};

const options = { bundle: true, minify: true, target: "es2022", legalComments: "none", logLevel: "warning" };

// Only what this script writes is removed.
await Promise.all(["browser", ...pages].map((name) => rm(join(bundle, name), { recursive: true, force: true })));
await mkdir(join(bundle, "browser"), { recursive: true });

await Promise.all([
  build({
    ...options,
    format: "esm",
    entryPoints: [join(source, "snippet.ts"), join(source, "client.ts")],
    plugins: [namedImports],
    alias: { "feedback-client": join(pkg, "feedback_client.js") },
    outdir: join(bundle, "browser"),
  }),
  copyFile(join(pkg, "feedback_client_bg.wasm"), join(bundle, "browser", "client_bg.wasm")),
  copyFile(join(source, "feedback.d.ts"), join(bundle, "browser", "feedback.d.ts")),
  ...pages.map(async (page) => {
    await build({
      ...options,
      format: "esm",
      entryPoints: { [page]: join(source, page, "main.ts") },
      outdir: join(bundle, page),
    });
    await copyFile(join(source, page, "index.html"), join(bundle, page, "index.html"));
  }),
]);

let failed = false;
for (const { what, files, bytes_max } of limits) {
  let sum = 0;
  for (const file of files) {
    const content = await readFile(join(bundle, "browser", file));
    const brotli = brotliCompressSync(content, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
    sum += brotli.length;
    // The relay sends this to browsers that take it.
    await writeFile(join(bundle, "browser", `${file}.br`), brotli);
    console.log(`${file}: ${content.length} bytes, ${gzipSync(content, { level: 9 }).length} gzip, ${brotli.length} brotli`);
  }
  const verdict = sum <= bytes_max ? "fits" : "is too large";
  failed ||= sum > bytes_max;
  console.log(`${what}: ${sum} of ${bytes_max} bytes brotli, ${verdict}`);
}
if (failed) process.exit(1);
