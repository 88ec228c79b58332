import { describe, expect, it } from "vitest";
import type { Frame, Strip } from "./rules";
import { type Input, marked, type Past, START, type State, step } from "./state";

const input: Input = {
  url: "/h/",
  joints: ["neck", "head", "hip"],
  bones: [],
  cameras: ["c"],
  inlier_px: 9,
  video: true,
  fps: 30,
};
const joint = (name: string) => ({
  name,
  outcome: "found",
  position_mm: [0, 0, 0] as [number, number, number],
  before_mm: null,
  spread_mm: 5,
  there: true,
  kept: true,
  verdict: "waiting" as const,
  error_px: 3,
});
const frame = (number: number): Frame => ({
  frame: number,
  frames: 20,
  person: null,
  picture: number,
  joints: input.joints.map(joint),
  views: [],
});
const strip: Strip = [
  [2, 0, 3, 0],
  [7, 3, 0, 0],
  [9, 2, 0, 1],
];
const at = (number: number, change: Partial<State> = {}): State => ({
  ...START,
  strip,
  frame: frame(number),
  ...change,
});
const key = (name: string, state: State, of = input) => step(state, { kind: "key", key: name }, of);
const past: Past = {
  id: "1",
  reviewer: "rea",
  verdict: "accepted",
  rule: {},
  labels: 51,
  at: "2026",
  undone_at: null,
  undone_by: null,
};

describe("the review page", () => {
  it("opens at the first frame with something to decide, and says so where nothing was kept", () => {
    const open = (s: Strip) => step(START, { kind: "opened", strip: s, history: [], timeline: null }, input);
    expect(open(strip)[1]).toEqual([{ run: "load", frame: 7 }]);
    expect(open([[4, 0, 1, 0]])[1]).toEqual([{ run: "load", frame: 4 }]);
    const [empty, effects] = open([]);
    expect(effects).toEqual([]);
    expect(empty.status).toContain("kept nothing");
  });
  it("goes on to what waits, around the end, and knows when all is decided", () => {
    expect(key("n", at(7))[1]).toEqual([{ run: "stop" }, { run: "load", frame: 9 }]);
    expect(key("n", at(9))[1]).toEqual([{ run: "stop" }, { run: "load", frame: 7 }]);
    const [done, effects] = key("n", at(7, { strip: [[7, 0, 1, 0]] }));
    expect([done.status, effects]).toEqual(["Everything is decided.", []]);
  });
  it("stays within the recording", () => {
    expect(key("ArrowRight", at(19))[1]).toContainEqual({ run: "load", frame: 19 });
    expect(key("ArrowLeft", at(0))[1]).toContainEqual({ run: "load", frame: 0 });
  });
  it("goes round through the joints", () => {
    expect(key("ArrowUp", at(7, { joint: 0 }))[0].joint).toBe(2);
    expect(key("ArrowDown", at(7, { joint: 2 }))[0].joint).toBe(0);
  });
  it("sends one decision at a time, and takes keys again once it is written", () => {
    const [busy, effects] = key("a", at(7));
    expect(effects).toEqual([{ run: "decide", decision: { verdict: "accepted", rule: { frame: 7 } } }]);
    expect(key("r", busy)).toEqual([busy, []]);
    expect(step(busy, { kind: "decide", decision: { verdict: "rejected", rule: {} } }, input)).toEqual([busy, []]);
    const books = { strip: [], history: [past], frame: frame(7) };
    const [after] = step(busy, { kind: "decided", past, undone: false, books }, input);
    expect([after.busy, after.status, after.history]).toEqual([false, "51 accepted.", [past]]);
    const [back] = step(busy, { kind: "decided", past, undone: true, books }, input);
    expect(back.status).toBe("Taken back: 51 accepted.");
    expect(step(busy, { kind: "failed", text: "no" }, input)[0].busy).toBe(false);
  });
  it("plays and stops, of videos only; going elsewhere stops it", () => {
    const [playing, effects] = key("p", at(7));
    expect([playing.playing, effects]).toEqual([true, [{ run: "play", frame: 7 }]]);
    expect(key("p", playing)[1]).toEqual([{ run: "stop" }]);
    expect(step(playing, { kind: "go", frame: 3 }, input)[0].playing).toBe(false);
    expect(key("p", at(7), { ...input, video: false })[1]).toEqual([]);
  });
  it("marks stretches in order, whichever end comes first", () => {
    expect(marked(null, "first", 7)).toEqual([7, 7]);
    expect(marked([3, 9], "first", 12)).toEqual([12, 12]);
    expect(marked([3, 9], "last", 1)).toEqual([1, 1]);
    expect(key("]", at(9, { stretch: [3, 5] }))[0].stretch).toEqual([3, 9]);
    expect(key("]", at(9), { ...input, video: false })[0].stretch).toBeNull();
  });
});
