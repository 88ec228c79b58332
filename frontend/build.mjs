// Bundles the islands into frontend/dist, which Django serves as /static/nearer/.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

rmSync("dist", { recursive: true, force: true });
mkdirSync("dist", { recursive: true });
await build({
  entryPoints: { annotate: "src/annotate/main.tsx", dashboard: "src/dashboard/main.ts" },
  outdir: "dist",
  bundle: true,
  splitting: true,
  chunkNames: "chunk-[hash]",
  minify: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
});
const css = ["node_modules/uplot/dist/uPlot.min.css", "src/ui/nearer.css"]
  .map((f) => readFileSync(f, "utf8"))
  .join("\n");
writeFileSync("dist/nearer.css", css);
copyFileSync("src/ui/favicon.svg", "dist/favicon.svg");
const kb = gzipSync(readFileSync("dist/annotate.js")).length / 1000;
console.log(`annotate.js: ${kb.toFixed(1)} kB gzipped`);
const gz = (f) => gzipSync(readFileSync(`dist/${f}`)).length / 1000;
console.log(
  `dashboard.js: ${gz("dashboard.js").toFixed(1)} kB gzipped; loaded when seen: ${readdirSync("dist")
    .filter((f) => f.startsWith("chunk-"))
    .map((f) => `${gz(f).toFixed(1)} kB`)
    .join(", ")}`,
);
if (kb > 80) throw new Error("the annotator page's bundle is over 80 kB gzipped");
