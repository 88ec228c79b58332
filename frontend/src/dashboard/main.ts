// Islands of the dashboard: a job's progress and a run's curves, looked up again while they change.
import uPlot from "uplot";
import { call } from "../api";

interface Job { state: string; done: number; total: number; unit: string; share_done: number | null; started_at: string | null; log: string[] }
const FINISHED = ["done", "failed", "cancelled"];
const COLOURS = ["#3b82f6", "#d9480f", "#0a8f4d", "#b5179e", "#8a6d00"];

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
      const state = find("state"), bar = find("bar") as HTMLProgressElement | null, log = document.querySelector("[data-log]");
      if (state) { state.textContent = job.state; state.className = `state ${job.state}`; }
      if (bar) bar.value = job.share_done ?? (job.state === "done" ? 1 : 0);
      const done = find("done"), rest = find("left");
      if (done) done.textContent = job.total ? `${job.done} of ${job.total} ${job.unit}` : "";
      if (rest) rest.textContent = left(job);
      if (log) log.textContent = job.log.join("\n");
      if (FINISHED.includes(job.state)) { if (box.dataset["finished"] !== "1") location.reload(); return; }
    }
    await new Promise((r) => setTimeout(r, 800));
  }
}

interface Curves { epoch: number[]; series: Record<string, (number | null)[]> }
const PLOTS: [string, string[]][] = [
  ["Relative-label error on held-out pictures", ["held_out_true_error", "held_out_label_error"]],
  ["Losses", ["loss", "relative", "root", "skeleton"]],
  ["Reprojection loss (px)", ["reprojection"]],
];

async function draw(box: HTMLElement): Promise<void> {
  for (;;) {
    const curves = await call<Curves>(box.dataset["url"] ?? "").catch(() => null);
    if (curves) {
      box.replaceChildren();
      if (!curves.epoch.length) box.textContent = "No epoch is finished yet.";
      else for (const [title, names] of PLOTS) {
        const seen = names.filter((n) => curves.series[n]);
        if (!seen.length) continue;
        const place = document.createElement("div");
        place.className = "chart";
        place.tabIndex = 0;
        place.role = "region";
        place.ariaLabel = title;
        box.append(place);
        const ink = getComputedStyle(document.body).color;
        const axis = { stroke: ink, grid: { stroke: "#8884", width: 1 } };
        new uPlot({ title, width: Math.max(280, Math.min(900, box.clientWidth)), height: 240, scales: { x: { time: false } }, axes: [axis, axis],
          series: [{ label: "epoch" }, ...seen.map((n, i) => ({ label: n.replaceAll("_", " "), stroke: COLOURS[i] ?? "#888", width: 2 }))] },
          [curves.epoch, ...seen.map((n) => curves.series[n] ?? [])] as uPlot.AlignedData, place);
      }
    }
    if (box.dataset["finished"] === "1") return;
    await new Promise((r) => setTimeout(r, 3000));
  }
}

document.querySelectorAll<HTMLElement>("[data-island=job]").forEach((b) => { if (b.dataset["finished"] !== "1") void watch(b); });
document.querySelectorAll<HTMLElement>("[data-island=curves]").forEach((b) => void draw(b));
