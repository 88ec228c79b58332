// The core of the review: what a frame looks like, where to go next, which decision a key means. No DOM here.
import type { Schemas } from "../api";

export type Seen = Schemas["ProjectedJoint"];
export type View = Schemas["HarvestView"];
export type Joint = Schemas["HarvestJoint"];
export type Frame = Schemas["HarvestFrame"];
export type Verdict = NonNullable<Joint["verdict"]>;
export type Rule = Partial<Schemas["Rule"]>;
export type Placing = Schemas["PlacingRequest"];
export type Exchange = Schemas["ExchangeRequest"];
export type Decision = { verdict: Verdict; rule: Rule };
export type Strip = Schemas["HarvestStrip"]["frames"];

/** Semi-axes (two standard deviations) and the angle in degrees of a 2 x 2 covariance. */
export function ellipse([[a, b], [, d]]: [[number, number], [number, number]]): {
  rx: number;
  ry: number;
  turn: number;
} {
  const middle = (a + d) / 2,
    apart = Math.hypot((a - d) / 2, b);
  const axis = (value: number) => 2 * Math.sqrt(Math.max(0, value));
  return { rx: axis(middle + apart), ry: axis(middle - apart), turn: (Math.atan2(2 * b, a - d) / 2) * (180 / Math.PI) };
}

/** The part of a picture around a person, x y width height, a third larger than his joints. */
export function around(view: View): [number, number, number, number] {
  const points = view.joints.filter((j): j is Seen => j !== null).map((j) => j.at);
  const [w, h] = view.size;
  if (!points.length) return [0, 0, w, h];
  const xs = points.map((p) => p[0]),
    ys = points.map((p) => p[1]);
  const side = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys), 60) * 1.35;
  const x = (Math.max(...xs) + Math.min(...xs) - side) / 2,
    y = (Math.max(...ys) + Math.min(...ys) - side) / 2;
  return [x, y, side, side];
}

/** The next frame from here on (in this direction) that still has something to decide; null where there is none. */
export function nextWaiting(strip: Strip, from: number, step: 1 | -1 = 1): number | null {
  const open = strip
    .filter(([frame, waiting]) => waiting > 0 && (step > 0 ? frame > from : frame < from))
    .map(([frame]) => frame);
  if (!open.length) return null;
  return step > 0 ? Math.min(...open) : Math.max(...open);
}

/** What a key does on the review page; null where it does nothing. */
export type Act =
  | { go: "next" | "previous" | "waiting" }
  | { choose: 1 | -1 }
  | { decide: Decision }
  | { undo: true }
  | { play: true }
  | { mark: "first" | "last" };
export function act(key: string, frame: Frame, chosen: number): Act | null {
  const joint = frame.joints[chosen];
  const about = (verdict: Verdict): Act => ({ decide: { verdict, rule: { frame: frame.frame } } });
  const one = (verdict: Verdict): Act | null =>
    joint?.verdict ? { decide: { verdict, rule: { frame: frame.frame, joint: joint.name } } } : null;
  switch (key) {
    case "ArrowRight":
      return { go: "next" };
    case "ArrowLeft":
      return { go: "previous" };
    case "n":
      return { go: "waiting" };
    case "ArrowDown":
      return { choose: 1 };
    case "ArrowUp":
      return { choose: -1 };
    case "a":
      return about("accepted");
    case "r":
      return about("rejected");
    case "y":
      return one("accepted");
    case "x":
      return one("rejected");
    case "u":
      return { undo: true };
    case "p":
      return { play: true };
    case "[":
      return { mark: "first" };
    case "]":
      return { mark: "last" };
    default:
      return null;
  }
}

const DRAGGED_PX = 3; // on the screen; less is a click

/** Where a joint was dragged to (px of the picture); null where it was a click, or the place is outside of the picture. */
export function dragged(
  from: [number, number],
  to: [number, number],
  screenPerPx: number,
  [w, h]: [number, number],
): [number, number] | null {
  const far = Math.hypot(to[0] - from[0], to[1] - from[1]) * screenPerPx;
  const inside = to[0] >= 0 && to[1] >= 0 && to[0] < w && to[1] < h;
  return far > DRAGGED_PX && inside ? [Math.round(10 * to[0]) / 10, Math.round(10 * to[1]) / 10] : null;
}

/** What a review did, in a word: corrections are kept as reviews. */
export const deed = (verdict: string, rule: Record<string, unknown>): string =>
  "exchange" in rule ? "exchanged" : "placed" in rule ? "placed" : verdict;

/** The rule that a form's fields say; empty fields say nothing. */
export function ruleOf(fields: Record<string, string>): Rule {
  const rule: Rule = {};
  for (const key of ["frame", "last_frame", "person", "most_error_px", "least_error_px", "surest"] as const) {
    const text = (fields[key] ?? "").trim().replace(",", ".");
    if (text !== "" && Number.isFinite(Number(text))) rule[key] = key === "surest" ? Number(text) / 100 : Number(text);
  }
  if (fields["joint"]) rule.joint = fields["joint"];
  if (fields["camera"]) rule.camera = fields["camera"];
  if (fields["verdict"]) rule.verdict = fields["verdict"] as Verdict;
  return rule;
}
