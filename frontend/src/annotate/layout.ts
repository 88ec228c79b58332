// Where a picture lies in its panel, and where its two marks and their letters lie. Pure: nothing here touches the browser.
export interface Point {
  x: number;
  y: number;
}
export interface Size {
  width: number;
  height: number;
}
/** `focus`: the point of the picture, as fractions of it, that is wanted in the middle of the panel. */
export interface View {
  zoom: number;
  focus: Point;
}
export interface Place extends Size {
  left: number;
  top: number;
  focus: Point;
}

const MOST_ZOOM = 8;
const clamp = (value: number, least: number, most: number) => Math.min(Math.max(value, least), most);

/** Fill the panel and keep the whole picture; zoomed in, let no empty edge show. */
export function fit(picture: Size, box: Size, view: View): Place {
  const scale = Math.min(box.width / picture.width, box.height / picture.height) * view.zoom;
  const width = picture.width * scale,
    height = picture.height * scale;
  const inside = (wanted: number, size: number, room: number) =>
    size <= room ? 0.5 : clamp(wanted, room / 2 / size, 1 - room / 2 / size);
  const focus = { x: inside(view.focus.x, width, box.width), y: inside(view.focus.y, height, box.height) };
  return { width, height, focus, left: box.width / 2 - focus.x * width, top: box.height / 2 - focus.y * height };
}

/** Zoom by a factor and leave what lies under a point of the panel where it is. */
export function zoomedAt(picture: Size, box: Size, view: View, at: Point, factor: number): View {
  const before = fit(picture, box, view),
    zoom = clamp(view.zoom * factor, 1, MOST_ZOOM);
  const after = fit(picture, box, { ...view, zoom });
  const held = { x: (at.x - before.left) / before.width, y: (at.y - before.top) / before.height };
  return {
    zoom,
    focus: { x: held.x - (at.x - box.width / 2) / after.width, y: held.y - (at.y - box.height / 2) / after.height },
  };
}

const RADIUS = 13,
  LEAST_RADIUS = 5,
  LETTER = 12;
export interface Laid {
  at: Point;
  letter: Point;
  r: number;
}

/** Rings of one size on the screen. Near joints get smaller ones, so that neither covers the other, and letters lie outside, away from the other joint. */
export function marks(first: Point, second: Point, box: Size): [Laid, Laid] {
  const dx = second.x - first.x,
    dy = second.y - first.y,
    apart = Math.hypot(dx, dy);
  // The diamond reaches 1.2 radii: two rings and their strokes fit between two joints that are 2.2 radii + 6 apart.
  const r = clamp((apart - 6) / 2.2, LEAST_RADIUS, RADIUS);
  const towards = apart > 1 ? { x: dx / apart, y: dy / apart } : { x: 1, y: 0 };
  const letter = (p: Point, sign: number): Point => {
    const away = (s: number) => ({
      x: p.x + s * towards.x * (r * 1.2 + LETTER),
      y: p.y + s * towards.y * (r * 1.2 + LETTER),
    });
    const outside = away(sign);
    const seen = outside.x > 8 && outside.x < box.width - 8 && outside.y > 10 && outside.y < box.height - 10;
    if (seen) return outside;
    // At the edge of the panel: beside the joint, at a right angle to the line between the two.
    const side = p.x - towards.y * (r + LETTER) > 8 && p.x - towards.y * (r + LETTER) < box.width - 8 ? 1 : -1;
    return {
      x: clamp(p.x - side * towards.y * (r * 1.2 + LETTER), 8, box.width - 8),
      y: clamp(p.y + side * towards.x * (r * 1.2 + LETTER), 10, box.height - 10),
    };
  };
  return [
    { at: first, letter: letter(first, -1), r },
    { at: second, letter: letter(second, 1), r },
  ];
}
