// The photo with its two rings, and the reference figure with the same two. Ring A is a green circle, ring B a pink
// diamond: colour, shape and letter each tell them apart.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Ring, Shown } from "../api";
import { fit, marks, type Point, type Size, type View, zoomedAt } from "./layout";

const GREEN = "#12c24a",
  PINK = "#ff45d8";

interface MarkProps {
  at: Point;
  letter: Point;
  green: boolean;
  r: number;
}

function Mark({ at, letter, green, r }: MarkProps) {
  const colour = green ? GREEN : PINK,
    { x, y } = at;
  const d = r * 1.2;
  const shape = (stroke: string, width: number) =>
    green ? (
      <circle cx={x} cy={y} r={r} fill="none" stroke={stroke} stroke-width={width} />
    ) : (
      <path
        d={`M${x} ${y - d}L${x + d} ${y}L${x} ${y + d}L${x - d} ${y}Z`}
        fill="none"
        stroke={stroke}
        stroke-width={width}
      />
    );
  return (
    <g data-ring={green ? "A" : "B"}>
      {shape("#000", 5)}
      {shape(colour, 2.5)}
      <text
        x={letter.x}
        y={letter.y}
        font-size="16"
        font-weight="700"
        fill={colour}
        stroke="#000"
        stroke-width="3"
        paint-order="stroke"
        text-anchor="middle"
        dominant-baseline="central"
      >
        {green ? "A" : "B"}
      </text>
    </g>
  );
}

const RETRIES_MS = [1000, 2000, 4000];

interface PhotoProps {
  shown: Shown;
  rings: boolean;
  zoom: number;
  setZoom: (zoom: number) => void;
  onLoad: () => void;
  onBroken: () => void;
}

/** The picture fills its panel, whatever its size; rings and letters keep their size on the screen. */
export function Photo({ shown, rings, zoom, setZoom, onLoad, onBroken }: PhotoProps) {
  const panel = useRef<HTMLDivElement>(null);
  const [box, setBox] = useState<Size>({ width: 0, height: 0 });
  const middle: Point = { x: (shown.first.x + shown.second.x) / 2, y: (shown.first.y + shown.second.y) / 2 };
  const [focus, setFocus] = useState<Point>(middle);
  const [tries, setTries] = useState(0);
  const timer = useRef(0);
  const fingers = useRef(new Map<number, Point>());
  useLayoutEffect(() => {
    const here = panel.current;
    if (!here) return;
    const measure = () => setBox({ width: here.clientWidth, height: here.clientHeight });
    const watch = new ResizeObserver(measure);
    watch.observe(here);
    measure();
    return () => watch.disconnect();
  }, []);
  useEffect(() => {
    setFocus(middle);
    setTries(0);
    return () => clearTimeout(timer.current);
  }, [shown.token]);
  const view: View = { zoom, focus };
  const place = fit(shown, box, view);
  const change = (next: View) => {
    setFocus(next.focus);
    setZoom(next.zoom);
  };
  const from = (e: PointerEvent | WheelEvent): Point => {
    const edge = (panel.current ?? (e.target as HTMLElement)).getBoundingClientRect();
    return { x: e.clientX - edge.left, y: e.clientY - edge.top };
  };
  const onWheel = (e: WheelEvent) => {
    e.preventDefault();
    change(zoomedAt(shown, box, view, from(e), Math.exp(-e.deltaY / 400)));
  };
  const onDown = (e: PointerEvent) => {
    fingers.current.set(e.pointerId, from(e));
  };
  const onMove = (e: PointerEvent) => {
    const before = fingers.current.get(e.pointerId);
    if (!before) return;
    const now = from(e),
      other = [...fingers.current].find(([id]) => id !== e.pointerId)?.[1];
    fingers.current.set(e.pointerId, now);
    if (other) {
      const far = (p: Point) => Math.max(20, Math.hypot(p.x - other.x, p.y - other.y));
      change(
        zoomedAt(shown, box, view, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 }, far(now) / far(before)),
      );
    } else if (zoom > 1) {
      setFocus({
        x: place.focus.x - (now.x - before.x) / place.width,
        y: place.focus.y - (now.y - before.y) / place.height,
      });
    }
  };
  const onUp = (e: PointerEvent) => {
    fingers.current.delete(e.pointerId);
  };
  useEffect(() => {
    const here = panel.current;
    if (!here) return;
    here.addEventListener("wheel", onWheel, { passive: false });
    return () => here.removeEventListener("wheel", onWheel);
  });
  // A picture that does not come is asked for again, each time after a longer pause; then the page offers a way on.
  const onError = () => {
    const pause = RETRIES_MS[tries];
    if (pause === undefined) onBroken();
    else timer.current = window.setTimeout(() => setTries(tries + 1), pause);
  };
  const on = (r: Ring): Point => ({ x: place.left + r.x * place.width, y: place.top + r.y * place.height });
  const [a, b] = marks(on(shown.first), on(shown.second), box);
  return (
    <div
      class="photo"
      ref={panel}
      onPointerDown={onDown}
      onPointerMove={onMove}
      onPointerUp={onUp}
      onPointerCancel={onUp}
      onPointerLeave={onUp}
    >
      <img
        key={`${shown.token} ${tries}`}
        src={tries ? `${shown.picture}?again=${tries}` : shown.picture}
        style={{
          left: `${place.left}px`,
          top: `${place.top}px`,
          width: `${place.width}px`,
          height: `${place.height}px`,
        }}
        onLoad={onLoad}
        onError={onError}
        alt={`A person. ${shown.first.words} and ${shown.second.words} are marked.`}
        draggable={false}
      />
      {rings && box.width > 0 && (
        <svg viewBox={`0 0 ${box.width} ${box.height}`} aria-hidden="true" data-rings>
          <Mark {...a} green={shown.green_is_first} />
          <Mark {...b} green={!shown.green_is_first} />
        </svg>
      )}
    </div>
  );
}

// A person seen from the front: its left is on the picture's right.
const BODY: Record<string, [number, number]> = {
  head: [100, 22],
  head_top: [100, 16],
  nose: [100, 40],
  chin: [100, 56],
  left_eye: [106, 34],
  right_eye: [94, 34],
  left_ear: [114, 38],
  right_ear: [86, 38],
  upper_neck: [100, 60],
  neck: [100, 72],
  thorax: [100, 82],
  mid_spine: [100, 130],
  pelvis: [100, 184],
  mid_hip: [100, 184],
  left_shoulder: [130, 84],
  right_shoulder: [70, 84],
  left_elbow: [146, 138],
  right_elbow: [54, 138],
  left_wrist: [156, 190],
  right_wrist: [44, 190],
  left_hip: [116, 190],
  right_hip: [84, 190],
  left_knee: [120, 270],
  right_knee: [80, 270],
  left_ankle: [122, 350],
  right_ankle: [78, 350],
};
const LIMBS: [string, string, number][] = [
  ["left_shoulder", "left_elbow", 19],
  ["left_elbow", "left_wrist", 15],
  ["right_shoulder", "right_elbow", 19],
  ["right_elbow", "right_wrist", 15],
  ["left_hip", "left_knee", 27],
  ["left_knee", "left_ankle", 20],
  ["right_hip", "right_knee", 27],
  ["right_knee", "right_ankle", 20],
];
const at = (name: string): [number, number] => BODY[name] ?? [100, 200];

export function Figure({ shown }: { shown: Shown }) {
  const point = (name: string): Point => ({ x: at(name)[0], y: at(name)[1] });
  const [a, b] = marks(point(shown.first.keypoint), point(shown.second.keypoint), { width: 200, height: 385 });
  const ring = (r: Ring, mark: typeof a, green: boolean) => BODY[r.keypoint] && <Mark {...mark} green={green} />;
  return (
    <div class="figure">
      <svg
        viewBox="10 0 190 385"
        role="img"
        aria-label={`Reference figure with ${shown.first.words} and ${shown.second.words} marked`}
      >
        <g stroke="#b9c0c8" stroke-linecap="round" fill="#b9c0c8">
          {LIMBS.map(([a, b, w]) => (
            <line x1={at(a)[0]} y1={at(a)[1]} x2={at(b)[0]} y2={at(b)[1]} stroke-width={w} />
          ))}
          <path
            d="M68 78Q100 66 132 78L120 150L124 194Q100 206 76 194L80 150Z"
            stroke-width="6"
            stroke-linejoin="round"
          />
          <line x1="100" y1="60" x2="100" y2="78" stroke-width="16" />
          <ellipse cx="100" cy="38" rx="17" ry="23" stroke="none" />
          <circle cx="158" cy="202" r="9" stroke="none" />
          <circle cx="42" cy="202" r="9" stroke="none" />
          <ellipse cx="127" cy="362" rx="13" ry="7" stroke="none" />
          <ellipse cx="73" cy="362" rx="13" ry="7" stroke="none" />
        </g>
        <g fill="#555" font-size="16">
          <text x="172" y="110" text-anchor="middle">
            left
          </text>
          <text x="34" y="110" text-anchor="middle">
            right
          </text>
        </g>
        {ring(shown.first, a, shown.green_is_first)}
        {ring(shown.second, b, !shown.green_is_first)}
      </svg>
      <p>facing you: its left is on your right</p>
    </div>
  );
}
