// The 3D pose viewer: predicted (coloured) and true pose (grey) of one person, turned by mouse, touch or arrow keys.
import {
  AmbientLight,
  Color,
  CylinderGeometry,
  DirectionalLight,
  GridHelper,
  Group,
  Mesh,
  MeshStandardMaterial,
  PerspectiveCamera,
  Scene,
  SphereGeometry,
  Vector3,
  WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";

export interface Person {
  name: string;
  error_mm: number | null;
  pose_mm: number[][];
  truth_mm: number[][] | null;
  spread_mm?: number[];
}
export interface Poses {
  joints: string[];
  bones: [number, number][];
  examples: Person[];
  worst?: Person[];
  grey?: string;
}

const LEFT = 0x4dabf7,
  RIGHT = 0xff922b,
  MIDDLE = 0xe9ecef,
  TRUTH = 0x868e96;
const UP = new Vector3(0, 1, 0);

// Camera frame (x right, y down, z away; mm) to the scene's (y up, z towards the viewer; m).
const place = (p: number[]): Vector3 => new Vector3(p[0] ?? 0, -(p[1] ?? 0), -(p[2] ?? 0)).divideScalar(1000);

function side(name: string): number {
  return name.startsWith("left") ? LEFT : name.startsWith("right") ? RIGHT : MIDDLE;
}

function figure(poses: Poses, points: number[][], truth: boolean): Group {
  const group = new Group();
  const at = points.map(place);
  const paint = (colour: number) =>
    new MeshStandardMaterial({ color: colour, transparent: truth, opacity: truth ? 0.55 : 1 });
  const ball = new SphereGeometry(truth ? 0.014 : 0.022, 12, 8);
  poses.joints.forEach((name, j) => {
    const mesh = new Mesh(ball, paint(truth ? TRUTH : side(name)));
    mesh.position.copy(at[j] ?? new Vector3());
    group.add(mesh);
  });
  for (const [a, b] of poses.bones) {
    const from = at[a],
      to = at[b];
    if (!from || !to) continue;
    const along = to.clone().sub(from),
      long = along.length();
    if (long < 1e-4) continue;
    const width = truth ? 0.007 : 0.013;
    const colour = truth
      ? TRUTH
      : side(side(poses.joints[b] ?? "") === MIDDLE ? (poses.joints[a] ?? "") : (poses.joints[b] ?? ""));
    const mesh = new Mesh(new CylinderGeometry(width, width, long, 8), paint(colour));
    mesh.position.copy(from).addScaledVector(along, 0.5);
    mesh.quaternion.setFromUnitVectors(UP, along.normalize());
    group.add(mesh);
  }
  return group;
}

export interface Viewer {
  /** Bring one person into view, and the viewer into sight and focus. */
  show: (people: "examples" | "worst", index: number) => void;
  /** Draw anew after `poses` changed. */
  update: () => void;
}

export function mount(box: HTMLElement, poses: Poses): Viewer {
  box.replaceChildren();
  box.classList.add("viewer");
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const renderer = new WebGLRenderer({ canvas, antialias: true });
  const scene = new Scene(),
    camera = new PerspectiveCamera(40, 1, 0.05, 50),
    controls = new OrbitControls(camera, canvas);
  scene.background = new Color(0x11151b);
  scene.add(new AmbientLight(0xffffff, 1.4));
  const sun = new DirectionalLight(0xffffff, 2);
  sun.position.set(1, 2, 3);
  scene.add(sun);
  const floor = new GridHelper(4, 16, 0x495057, 0x343a40);
  scene.add(floor);
  let current = new Group(),
    list: "examples" | "worst" = "examples",
    index = 0,
    playing = false,
    dirty = true,
    turning = 0;

  const bar = document.createElement("div");
  bar.className = "row";
  const button = (text: string, act: () => void) => {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = text;
    b.addEventListener("click", act);
    bar.append(b);
    return b;
  };
  const status = document.createElement("p");
  status.setAttribute("aria-live", "polite");
  status.className = "hint";

  const reset = () => {
    camera.position.set(0, 0.15, 2.7);
    controls.target.set(0, 0, 0);
    controls.update();
    dirty = true;
  };
  const people = () => poses[list] ?? [];
  const show = (which: "examples" | "worst", number: number) => {
    list = which;
    index = (number + people().length) % Math.max(1, people().length);
    const person = people()[index];
    if (!person) return;
    scene.remove(current);
    current.traverse((part) => {
      if (part instanceof Mesh) {
        part.geometry.dispose();
        (part.material as MeshStandardMaterial).dispose();
      }
    });
    current = new Group();
    current.add(figure(poses, person.pose_mm, false));
    person.spread_mm?.forEach((spread, j) => {
      // two standard deviations around each joint
      const cloud = new Mesh(
        new SphereGeometry(Math.min(0.4, spread / 500), 16, 12),
        new MeshStandardMaterial({ color: 0xffd43b, transparent: true, opacity: 0.25, depthWrite: false }),
      );
      cloud.position.copy(place(person.pose_mm[j] ?? []));
      if (spread) current.add(cloud);
    });
    if (person.truth_mm && truth.checked) current.add(figure(poses, person.truth_mm, true));
    const middle = person.pose_mm
      .map(place)
      .reduce((sum, p) => sum.add(p), new Vector3())
      .divideScalar(person.pose_mm.length);
    current.position.copy(middle).negate();
    scene.add(current);
    floor.position.y = Math.min(...person.pose_mm.map((p) => -(p[1] ?? 0))) / 1000 - 0.05 - middle.y;
    for (const tool of [select, play, back, forth]) tool.hidden = !poses.worst?.length && people().length < 2;
    const error = person.error_mm === null ? "" : `, PA-MPJPE ${person.error_mm} mm`;
    const counted =
      people().length < 2 ? "" : `${list === "worst" ? "Worst case" : "Example"} ${index + 1} of ${people().length}: `;
    status.textContent = `${counted}${person.name}${error}`;
    canvas.setAttribute("aria-label", `3D pose of ${status.textContent}. Arrow keys turn it.`);
    dirty = true;
  };
  const back = button("Previous", () => show(list, index - 1));
  const play = button("Play", () => {
    playing = !playing;
    play.textContent = playing ? "Stop" : "Play";
    play.ariaPressed = String(playing);
  });
  const forth = button("Next", () => show(list, index + 1));
  button("From the front", reset);
  const select = document.createElement("select");
  select.ariaLabel = "People shown";
  select.append(new Option("evenly chosen", "examples"));
  if (poses.worst?.length) select.append(new Option("worst cases", "worst"));
  select.addEventListener("change", () => show(select.value as "examples" | "worst", 0));
  const label = document.createElement("label"),
    truth = document.createElement("input");
  truth.type = "checkbox";
  truth.checked = true;
  label.className = "check";
  label.append(truth, poses.grey ?? "true pose (grey)");
  truth.addEventListener("change", () => show(list, index));
  bar.append(select);
  if (poses.examples.some((p) => p.truth_mm)) bar.append(label);
  box.append(canvas, bar, status);

  canvas.addEventListener("keydown", (event) => {
    const turn = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    if (!turn) return;
    event.preventDefault();
    const off = camera.position.clone().sub(controls.target);
    off.applyAxisAngle(UP, turn[0] ?? 0);
    off.y += turn[1] ?? 0;
    camera.position.copy(controls.target).add(off);
    controls.update();
    dirty = true;
  });
  controls.addEventListener("change", () => {
    dirty = true;
  });
  const size = () => {
    const { clientWidth, clientHeight } = canvas;
    renderer.setPixelRatio(Math.min(2, devicePixelRatio));
    renderer.setSize(clientWidth, clientHeight, false);
    camera.aspect = clientWidth / Math.max(1, clientHeight);
    camera.updateProjectionMatrix();
    dirty = true;
  };
  new ResizeObserver(size).observe(canvas);
  let last = performance.now();
  const frame = (now: number) => {
    const passed = Math.min(0.1, (now - last) / 1000);
    last = now;
    if (playing) {
      turning += passed;
      camera.position
        .sub(controls.target)
        .applyAxisAngle(UP, passed * 1.1)
        .add(controls.target);
      controls.update();
      dirty = true;
      if (turning > 4) {
        turning = 0;
        show(list, index + 1);
      }
    }
    if (dirty) {
      dirty = false;
      renderer.render(scene, camera);
    }
    requestAnimationFrame(frame);
  };
  size();
  reset();
  show("examples", 0);
  requestAnimationFrame(frame);
  return {
    update: () => show("examples", 0),
    show: (which, number) => {
      select.value = which;
      show(which, number);
      box.scrollIntoView({ block: "center" });
      canvas.focus();
    },
  };
}
