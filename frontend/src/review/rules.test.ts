import { describe, expect, it } from "vitest";
import { act, around, deed, dragged, ellipse, type Frame, nextWaiting, ruleOf, type Strip } from "./rules";

const joint = (name: string, verdict: "waiting" | null) => ({
  name,
  outcome: "found",
  position_mm: [0, 0, 0] as [number, number, number],
  before_mm: null,
  spread_mm: 5,
  there: true,
  kept: verdict !== null,
  verdict,
  error_px: 3,
});
const frame: Frame = {
  frame: 7,
  frames: 20,
  person: null,
  picture: 7,
  joints: [joint("neck", "waiting"), joint("head", null)],
  views: [],
};

describe("review", () => {
  it("draws two standard deviations along the axes of a covariance", () => {
    expect(
      ellipse([
        [9, 0],
        [0, 4],
      ]),
    ).toEqual({ rx: 6, ry: 4, turn: 0 });
    const turned = ellipse([
      [5, 3],
      [3, 5],
    ]);
    expect(turned.rx).toBeCloseTo(2 * Math.sqrt(8));
    expect(turned.ry).toBeCloseTo(2 * Math.sqrt(2));
    expect(turned.turn).toBeCloseTo(45);
    expect(
      ellipse([
        [0, 0],
        [0, 0],
      ]).rx,
    ).toBe(0);
  });
  it("finds the next frame with something to decide, in both directions", () => {
    const strip: Strip = [
      [2, 1, 0, 0],
      [5, 0, 3, 0],
      [9, 2, 0, 1],
    ];
    expect(nextWaiting(strip, 2)).toBe(9);
    expect(nextWaiting(strip, 9)).toBeNull();
    expect(nextWaiting(strip, 9, -1)).toBe(2);
  });
  it("turns keys into decisions about the frame or the chosen joint", () => {
    expect(act("a", frame, 0)).toEqual({ decide: { verdict: "accepted", rule: { frame: 7 } } });
    expect(act("x", frame, 0)).toEqual({ decide: { verdict: "rejected", rule: { frame: 7, joint: "neck" } } });
    expect(act("x", frame, 1)).toBeNull(); // not kept: nothing to decide
    expect(act("u", frame, 0)).toEqual({ undo: true });
    expect(act("p", frame, 0)).toEqual({ play: true });
    expect(act("]", frame, 0)).toEqual({ mark: "last" });
    expect(act("q", frame, 0)).toBeNull();
  });
  it("reads a rule from fields, shares in per cent, empty ones left out", () => {
    expect(ruleOf({ surest: "50", most_error_px: "7,5", frame: "", joint: "neck", verdict: "" })).toEqual({
      surest: 0.5,
      most_error_px: 7.5,
      joint: "neck",
    });
  });
  it("shows the person, or the whole picture where there is none", () => {
    const seen = (x: number, y: number) => ({
      at: [x, y] as [number, number],
      covariance: [
        [1, 0],
        [0, 1],
      ] as [[number, number], [number, number]],
      detected: null,
    });
    expect(around({ camera: "c", size: [640, 480], picture: false, joints: [null] })).toEqual([0, 0, 640, 480]);
    const [x, y, w, h] = around({
      camera: "c",
      size: [640, 480],
      picture: false,
      joints: [seen(100, 100), seen(200, 300)],
    });
    expect([x, y, w, h]).toEqual([15, 65, 270, 270]);
  });
});

describe("corrections", () => {
  it("takes a joint along only where it was dragged, and inside of the picture", () => {
    expect(dragged([100, 50], [103.04, 50], 2, [640, 480])).toEqual([103, 50]);
    expect(dragged([100, 50], [101, 50], 2, [640, 480])).toBeNull();
    expect(dragged([100, 50], [700, 50], 2, [640, 480])).toBeNull();
    expect(dragged([1, 1], [-20, 1], 2, [640, 480])).toBeNull();
  });
  it("names what a review did", () => {
    expect(deed("accepted", { placed: "neck", frame: 3 })).toBe("placed");
    expect(deed("waiting", { exchange: [1, 2] })).toBe("exchanged");
    expect(deed("rejected", { joint: "neck" })).toBe("rejected");
  });
});
