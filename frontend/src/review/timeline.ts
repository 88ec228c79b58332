// The timeline of a video: curves over all frames, where one is, and a stretch that is chosen by dragging. Pure functions first.
import type { Schemas } from "../api";

export type Timeline = Schemas["HarvestTimeline"];
export type Stretch = [first: number, last: number];

/** The frame at a share (0 to 1) of the timeline's width. */
export const frameAt = (share: number, frames: number): number =>
  Math.max(0, Math.min(frames - 1, Math.floor(share * frames)));

/** A stretch from where one pressed to where one let go, in order. */
export const stretchOf = (a: number, b: number): Stretch => [Math.min(a, b), Math.max(a, b)];

/** Frames to go on by so that playing draws about `perSecond` a second and is as fast as life. */
export const stepOf = (fps: number, perSecond = 12): number => Math.max(1, Math.round(fps / perSecond));

/** The largest value that is drawn: the 98th percentile, so that one wild frame does not flatten the rest. */
export function ceiling(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.max(1e-6, sorted[Math.floor(0.98 * (sorted.length - 1))] ?? 0);
}

/** Whom a frame shows and which frame of the recording it is, in words; nothing where there is one person all the time. */
export function placeOf(frame: { person: number | null; picture: number }, video: boolean): string {
  if (frame.person === null) return "";
  return video
    ? `clip ${frame.person}, frame ${frame.picture} of the video`
    : `person ${frame.person}, frame ${frame.picture} of the recording`;
}

export const CURVES: [name: string, title: string, colour: string][] = [
  ["expected_mm", "expected error (mm)", "#3b82f6"],
  ["error_px", "reprojection error (px)", "#d9480f"],
  ["shaking_before_mm", "shaking as lifted (mm)", "#868e96"],
  ["shaking_after_mm", "shaking now (mm)", "#0a8f4d"],
];

/** Those that say something: predictions of 3D have nothing to reproject. */
export const drawn = (curves: Record<string, number[]>) =>
  CURVES.filter(([name]) => (curves[name] ?? []).some((value) => value > 0));

export interface Track {
  paint: (frame: number, stretch: Stretch | null) => void;
  box: HTMLElement;
}

/** The canvas with its key. `go`: one frame was chosen; `choose`: a stretch was. */
export function track(timeline: Timeline, go: (frame: number) => void, choose: (stretch: Stretch) => void): Track {
  const box = document.createElement("div"),
    canvas = document.createElement("canvas"),
    key = document.createElement("p");
  const lines = drawn(timeline.curves);
  canvas.className = "timeline";
  canvas.setAttribute("role", "img");
  canvas.setAttribute(
    "aria-label",
    `Curves over ${timeline.frames} frames in ${timeline.clips.length} clips: ${lines.map(([, title]) => title).join(", ")}. Drag to choose a stretch.`,
  );
  key.className = "hint row";
  // Both shaking curves share one scale, so that before and after can be compared.
  const tops = new Map(CURVES.map(([name]) => [name, ceiling(timeline.curves[name] ?? [])]));
  tops.set("shaking_after_mm", tops.get("shaking_before_mm") ?? 1);
  for (const [name, title, colour] of lines) {
    const item = document.createElement("span"),
      dot = document.createElement("i");
    dot.className = "key";
    dot.style.background = colour;
    item.append(dot, ` ${title}, to ${(tops.get(name) ?? 0).toFixed(0)}`);
    key.append(item);
  }
  box.append(canvas, key);
  let shown: [number, Stretch | null] = [0, null],
    pressed: number | null = null;

  const where = (event: PointerEvent) =>
    frameAt((event.clientX - canvas.getBoundingClientRect().left) / Math.max(1, canvas.clientWidth), timeline.frames);
  canvas.addEventListener("pointerdown", (event) => {
    pressed = where(event);
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (pressed !== null) paint(shown[0], stretchOf(pressed, where(event)));
  });
  canvas.addEventListener("pointercancel", () => {
    pressed = null;
  });
  canvas.addEventListener("pointerup", (event) => {
    if (pressed === null) return;
    const chosen = stretchOf(pressed, where(event)),
      few = (chosen[1] - chosen[0]) * (canvas.clientWidth / timeline.frames);
    pressed = null;
    if (few < 4) go(chosen[0]);
    else choose(chosen);
  });

  function paint(frame: number, stretch: Stretch | null): void {
    shown = [frame, stretch];
    canvas.width = canvas.clientWidth * devicePixelRatio;
    canvas.height = canvas.clientHeight * devicePixelRatio;
    const { width, height } = canvas;
    const pen = canvas.getContext("2d");
    if (!pen || !width) return;
    const x = (f: number) => (f / timeline.frames) * width,
      style = getComputedStyle(canvas);
    if (stretch) {
      pen.fillStyle = style.getPropertyValue("--accent");
      pen.globalAlpha = 0.22;
      pen.fillRect(x(stretch[0]), 0, Math.max(2, x(stretch[1] + 1) - x(stretch[0])), height);
      pen.globalAlpha = 1;
    }
    pen.fillStyle = style.getPropertyValue("--line");
    for (const clip of timeline.clips) pen.fillRect(x(clip.row), 0, devicePixelRatio, height);
    for (const [name, , colour] of lines) {
      const values = timeline.curves[name] ?? [],
        top = tops.get(name) ?? 1;
      pen.strokeStyle = colour;
      pen.lineWidth = 1.3 * devicePixelRatio;
      pen.beginPath();
      values.forEach((value, n) => {
        const y = height - 2 - (height - 4) * Math.min(1, value / top);
        if (n) pen.lineTo(x(timeline.at[n] ?? 0), y);
        else pen.moveTo(x(timeline.at[n] ?? 0), y);
      });
      pen.stroke();
    }
    pen.fillStyle = style.getPropertyValue("--ink");
    pen.fillRect(x(frame), 0, 2 * devicePixelRatio, height);
  }
  return { paint, box };
}
