import { describe, expect, it } from "vitest";
import { fit, marks, zoomedAt } from "./layout";

const box = { width: 900, height: 600 };
const whole = { zoom: 1, focus: { x: 0.5, y: 0.5 } };

describe("layout", () => {
  it.each([
    [235, 226],
    [96, 128],
    [4000, 3000],
    [300, 3000],
    [3000, 300],
  ])("fills the panel with a picture of %i x %i and cuts nothing off", (width, height) => {
    const place = fit({ width, height }, box, whole);
    expect(Math.max(place.width / box.width, place.height / box.height)).toBeCloseTo(1);
    expect(place.width / place.height).toBeCloseTo(width / height);
    expect(place.left).toBeCloseTo((box.width - place.width) / 2);
    expect(place.top).toBeCloseTo((box.height - place.height) / 2);
  });
  it("shows no empty edge when zoomed in at a corner", () => {
    const place = fit({ width: 900, height: 600 }, box, { zoom: 2, focus: { x: 0, y: 1 } });
    expect(place.left).toBeCloseTo(0);
    expect(place.top + place.height).toBeCloseTo(box.height);
  });
  it("leaves what lies under the pointer where it is", () => {
    const picture = { width: 450, height: 300 },
      at = { x: 600, y: 350 };
    const before = fit(picture, box, whole),
      next = zoomedAt(picture, box, whole, at, 3);
    const after = fit(picture, box, next);
    expect((at.x - after.left) / after.width).toBeCloseTo((at.x - before.left) / before.width);
    expect((at.y - after.top) / after.height).toBeCloseTo((at.y - before.top) / before.height);
    expect(next.zoom).toBe(3);
    expect(zoomedAt(picture, box, next, at, 0.01).zoom).toBe(1);
  });
  it.each([
    [200, 0],
    [30, 12],
    [18, 0],
    [0, 20],
  ])("keeps two rings %i and %i px apart from covering each other", (dx, dy) => {
    const [a, b] = marks({ x: 300, y: 300 }, { x: 300 + dx, y: 300 + dy }, box);
    expect(a.r + 1.2 * b.r).toBeLessThanOrEqual(Math.hypot(dx, dy));
    expect(Math.hypot(a.letter.x - b.letter.x, a.letter.y - b.letter.y)).toBeGreaterThan(30);
    for (const [mark, other] of [
      [a, b],
      [b, a],
    ] as const) {
      expect(Math.hypot(mark.letter.x - other.at.x, mark.letter.y - other.at.y)).toBeGreaterThan(other.r + 8);
    }
  });
  it("has rings of one size however large the picture is, and letters inside the panel", () => {
    const [a, b] = marks({ x: 3, y: 300 }, { x: 890, y: 2 }, box);
    expect([a.r, b.r]).toEqual([13, 13]);
    for (const { letter } of [a, b]) {
      expect(letter.x).toBeGreaterThanOrEqual(8);
      expect(letter.x).toBeLessThanOrEqual(box.width - 8);
      expect(letter.y).toBeGreaterThanOrEqual(10);
    }
  });
  it("tells even two joints on one spot apart by their letters", () => {
    const [a, b] = marks({ x: 100, y: 100 }, { x: 100, y: 100 }, box);
    expect(Math.abs(a.letter.x - b.letter.x)).toBeGreaterThan(20);
  });
});
