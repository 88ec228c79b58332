import { describe, expect, it } from "vitest";
import { ceiling, drawn, frameAt, placeOf, stepOf, stretchOf } from "./timeline";

describe("timeline", () => {
  it("finds the frame below the pointer, never outside", () => {
    expect([frameAt(0, 150), frameAt(0.5, 150), frameAt(1, 150), frameAt(-0.2, 150)]).toEqual([0, 75, 149, 0]);
  });
  it("puts a stretch in order whichever way it was dragged", () => {
    expect(stretchOf(9, 3)).toEqual([3, 9]);
  });
  it("plays as fast as life in about twelve pictures a second", () => {
    expect([stepOf(10), stepOf(30), stepOf(60), stepOf(1000)]).toEqual([1, 3, 5, 83]);
  });
  it("does not let one wild frame flatten the curve", () => {
    expect(ceiling([...Array<number>(99).fill(2), 5000])).toBe(2);
    expect(ceiling([])).toBeGreaterThan(0);
  });
  it("leaves out curves that say nothing", () => {
    expect(drawn({ error_px: [0, 0], expected_mm: [3, 0] }).map(([name]) => name)).toEqual(["expected_mm"]);
  });
  it("says whom and which frame of the recording a row shows", () => {
    expect(placeOf({ person: 2, picture: 139 }, true)).toBe("clip 2, frame 139 of the video");
    expect(placeOf({ person: 1, picture: 12 }, false)).toBe("person 1, frame 12 of the recording");
    expect(placeOf({ person: null, picture: 150 }, false)).toBe("");
  });
});
