// Islands of the dashboard: a job's progress and a run's curves, looked up again while they change.
import uPlot from "uplot";
import { call, type Schemas } from "../api";
import type { Input } from "../review/state";
import type { Poses } from "../viewer/poses";

type Job = Schemas["JobShape"];
const FINISHED = ["done", "failed", "cancelled"];
const COLOURS = ["#3b82f6", "#d9480f", "#0a8f4d", "#b5179e", "#8a6d00", "#5b6470"];

function left(job: Job): string {
  if (!job.share_done || job.share_done < 0.02 || !job.started_at || FINISHED.includes(job.state)) return "";
  const s = ((Date.now() - Date.parse(job.started_at)) / 1000) * (1 / job.share_done - 1);
  return s < 90 ? `about ${Math.ceil(s)} s left` : `about ${Math.ceil(s / 60)} min left`;
}

async function watch(box: HTMLElement): Promise<void> {
  const find = (name: string) => box.querySelector<HTMLElement>(`[data-${name}]`);
  for (;;) {
    const job = await call<Job>(box.dataset["url"] ?? "").catch(() => null);
    if (job) {
      const state = find("state"),
        bar = find("bar") as HTMLProgressElement | null,
        log = document.querySelector("[data-log]");
      if (state) {
        state.textContent = job.state;
        state.className = `state ${job.state}`;
      }
      if (bar) bar.value = job.share_done ?? (job.state === "done" ? 1 : 0);
      const done = find("done"),
        rest = find("left");
      if (done) done.textContent = job.total ? `${job.done} of ${job.total} ${job.unit}` : "";
      if (rest) rest.textContent = left(job);
      if (log) log.textContent = job.log.join("\n");
      if (FINISHED.includes(job.state)) {
        if (box.dataset["finished"] !== "1") location.reload();
        return;
      }
    }
    await new Promise((r) => setTimeout(r, 800));
  }
}

type Curves = Schemas["RunCurves"];
interface Drawn {
  name: string;
  url: string;
}
const PLOTS: [string, string[]][] = [
  ["Relative-label error on held-out pictures", ["held_out_true_error", "held_out_label_error"]],
  ["Losses", ["loss", "relative", "root", "skeleton"]],
  ["Reprojection loss (px)", ["reprojection"]],
];

function read<T>(id: string | undefined): T | null {
  const text = document.getElementById(id ?? "")?.textContent;
  return text ? (JSON.parse(text) as T) : null;
}

// One run: its values in one plot each. Several: one plot per value, a line per run.
function plots(
  runs: Drawn[],
  curves: Curves[],
): { title: string; lines: { label: string; of: number; name: string }[] }[] {
  const has = (n: string) => curves.some((c) => c.series[n]);
  if (runs.length === 1)
    return PLOTS.map(([title, names]) => ({
      title,
      lines: names.filter(has).map((n) => ({ label: n.replaceAll("_", " "), of: 0, name: n })),
    }));
  const every = ["held_out_true_error", "held_out_label_error", "loss", "relative"];
  return every
    .filter(has)
    .map((n) => ({ title: n.replaceAll("_", " "), lines: runs.map((r, i) => ({ label: r.name, of: i, name: n })) }));
}

async function draw(box: HTMLElement): Promise<void> {
  const runs = read<Drawn[]>(box.dataset["runs"]) ?? [];
  for (;;) {
    const curves = await Promise.all(runs.map((r) => call<Curves>(r.url))).catch(() => null);
    if (curves) {
      box.replaceChildren();
      const epochs = [...new Set(curves.flatMap((c) => c.epoch))].sort((a, b) => a - b);
      if (!epochs.length) box.textContent = "No epoch is finished yet.";
      else
        for (const { title, lines } of plots(runs, curves)) {
          if (!lines.length) continue;
          const place = document.createElement("div");
          place.className = "chart";
          place.tabIndex = 0;
          place.role = "region";
          place.ariaLabel = title;
          box.append(place);
          const ink = getComputedStyle(document.body).color;
          const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 } };
          const values = lines.map(({ of, name }) => {
            const one = curves[of],
              at = new Map(one?.epoch.map((e, i) => [e, one.series[name]?.[i] ?? null]));
            return epochs.map((e) => at.get(e) ?? null);
          });
          new uPlot(
            {
              title,
              width: Math.max(280, Math.min(900, box.clientWidth)),
              height: 240,
              scales: { x: { time: false } },
              axes: [axis, axis],
              series: [
                { label: "epoch" },
                ...lines.map((l, i) => ({ label: l.label, stroke: COLOURS[i] ?? "#888", width: 2, spanGaps: true })),
              ],
            },
            [epochs, ...values] as uPlot.AlignedData,
            place,
          );
        }
    }
    if (box.dataset["finished"] === "1") return;
    await new Promise((r) => setTimeout(r, 3000));
  }
}

// three.js is fetched when the viewer comes into sight, or a worst case is asked for.
function poses(box: HTMLElement): void {
  let shown: Promise<{ show: (which: "examples" | "worst", index: number) => void }> | null = null;
  const load = () => {
    const people = read<Poses>(box.dataset["poses"]);
    if (!people) throw new Error("the page has no poses to show");
    shown ??= import("../viewer/poses").then(({ mount }) => mount(box, people));
    return shown;
  };
  const failed = () => {
    box.textContent = "This browser does not draw WebGL, which the 3D viewer needs.";
  };
  new IntersectionObserver((seen, watch) => {
    if (seen.some((s) => s.isIntersecting)) {
      watch.disconnect();
      load().catch(failed);
    }
  }).observe(box);
  document.querySelectorAll<HTMLElement>("[data-show-worst]").forEach((b) => {
    b.addEventListener("click", () => {
      load()
        .then((v) => v.show("worst", Number(b.dataset["showWorst"])))
        .catch(failed);
    });
  });
}

document.querySelectorAll<HTMLElement>("[data-island=review]").forEach((b) => {
  const input = read<Input>(b.dataset["review"]);
  if (input) void import("../review/page").then(({ review }) => review(b, input));
});
document.querySelectorAll<HTMLElement>("[data-island=job]").forEach((b) => {
  if (b.dataset["finished"] !== "1") void watch(b);
});
document.querySelectorAll<HTMLElement>("[data-island=curves]").forEach((b) => void draw(b));
document.querySelectorAll<HTMLElement>("[data-island=poses]").forEach(poses);
