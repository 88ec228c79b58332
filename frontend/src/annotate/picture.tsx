// The photo with its two rings, and the reference figure with the same two. Ring A is a green circle, ring B a pink
// diamond: colour, shape and letter each tell them apart.
import type { Ring, Shown } from "../api";

const GREEN = "#12c24a", PINK = "#ff45d8";

function Mark({ x, y, green, size }: { x: number; y: number; green: boolean; size: number }) {
  const r = size, colour = green ? GREEN : PINK;
  const shape = (stroke: string, width: number) => green
    ? <circle cx={x} cy={y} r={r} fill="none" stroke={stroke} stroke-width={width} />
    : <path d={`M${x} ${y - r * 1.2}L${x + r * 1.2} ${y}L${x} ${y + r * 1.2}L${x - r * 1.2} ${y}Z`} fill="none" stroke={stroke} stroke-width={width} />;
  const up = y > r * 4 ? -1 : 1;
  return <g>{shape("#000", r * 0.52)}{shape(colour, r * 0.3)}
    <text x={x + r * 1.25} y={y + up * r * 1.25} font-size={r * 1.5} font-weight="700" fill={colour} stroke="#000" stroke-width={r * 0.22} paint-order="stroke" text-anchor="start">{green ? "A" : "B"}</text></g>;
}

export function Photo({ shown, rings, zoom, onLoad }: { shown: Shown; rings: boolean; zoom: number; onLoad: () => void }) {
  const size = Math.max(shown.width, shown.height) / 48;
  const place = (r: Ring) => ({ x: r.x * shown.width, y: r.y * shown.height });
  const centre = { x: (shown.first.x + shown.second.x) * 50, y: (shown.first.y + shown.second.y) * 50 };
  return <div class="photo"><div class="zoomed" style={{ transform: `scale(${zoom})`, transformOrigin: `${centre.x}% ${centre.y}%` }}>
    <img key={shown.token} src={shown.picture} width={shown.width} height={shown.height} style={{ height: "auto" }} onLoad={onLoad}
      alt={`A person. ${shown.first.words} and ${shown.second.words} are marked.`} draggable={false} />
    {rings && <svg viewBox={`0 0 ${shown.width} ${shown.height}`} aria-hidden="true" data-rings>
      <Mark {...place(shown.first)} green={shown.green_is_first} size={size} />
      <Mark {...place(shown.second)} green={!shown.green_is_first} size={size} />
    </svg>}</div></div>;
}

// A person seen from the front: its left is on the picture's right.
const BODY: Record<string, [number, number]> = {
  head: [100, 22], head_top: [100, 16], nose: [100, 40], chin: [100, 56], left_eye: [106, 34], right_eye: [94, 34],
  left_ear: [114, 38], right_ear: [86, 38], upper_neck: [100, 60], neck: [100, 72], thorax: [100, 82], mid_spine: [100, 130],
  pelvis: [100, 184], mid_hip: [100, 184], left_shoulder: [130, 84], right_shoulder: [70, 84], left_elbow: [146, 138],
  right_elbow: [54, 138], left_wrist: [156, 190], right_wrist: [44, 190], left_hip: [116, 190], right_hip: [84, 190],
  left_knee: [120, 270], right_knee: [80, 270], left_ankle: [122, 350], right_ankle: [78, 350],
};
const LIMBS: [string, string, number][] = [
  ["left_shoulder", "left_elbow", 19], ["left_elbow", "left_wrist", 15], ["right_shoulder", "right_elbow", 19],
  ["right_elbow", "right_wrist", 15], ["left_hip", "left_knee", 27], ["left_knee", "left_ankle", 20],
  ["right_hip", "right_knee", 27], ["right_knee", "right_ankle", 20],
];
const at = (name: string): [number, number] => BODY[name] ?? [100, 200];

export function Figure({ shown }: { shown: Shown }) {
  const ring = (r: Ring, green: boolean) => BODY[r.keypoint] && <Mark x={at(r.keypoint)[0]} y={at(r.keypoint)[1]} green={green} size={9} />;
  return <div class="figure"><svg viewBox="10 0 190 385" role="img" aria-label={`Reference figure with ${shown.first.words} and ${shown.second.words} marked`}>
    <g stroke="#b9c0c8" stroke-linecap="round" fill="#b9c0c8">
      {LIMBS.map(([a, b, w]) => <line x1={at(a)[0]} y1={at(a)[1]} x2={at(b)[0]} y2={at(b)[1]} stroke-width={w} />)}
      <path d="M68 78Q100 66 132 78L120 150L124 194Q100 206 76 194L80 150Z" stroke-width="6" stroke-linejoin="round" />
      <line x1="100" y1="60" x2="100" y2="78" stroke-width="16" /><ellipse cx="100" cy="38" rx="17" ry="23" stroke="none" />
      <circle cx="158" cy="202" r="9" stroke="none" /><circle cx="42" cy="202" r="9" stroke="none" />
      <ellipse cx="127" cy="362" rx="13" ry="7" stroke="none" /><ellipse cx="73" cy="362" rx="13" ry="7" stroke="none" />
    </g>
    <g fill="#555" font-size="12"><text x="172" y="110" text-anchor="middle">left</text><text x="34" y="110" text-anchor="middle">right</text></g>
    {ring(shown.first, shown.green_is_first)}{ring(shown.second, !shown.green_is_first)}
  </svg><p>facing you: its left is on your right</p></div>;
}
