// The review page: views with the reprojected skeleton and its uncertainty, a strip of frames, joints, rules, history.
import { call } from "../api";
import { mount, type Poses, type Viewer } from "../viewer/poses";
import { placeOf, stepOf, track, type Stretch, type Timeline, type Track } from "./timeline";
import { act, around, ellipse, nextWaiting, ruleOf, type Decision, type Frame, type Strip, type Verdict } from "./rules";

export interface Input { url: string; joints: string[]; bones: [number, number][]; cameras: string[]; inlier_px: number; video?: boolean; fps?: number }
interface Past { reviewer: string | null; verdict: Verdict; rule: Record<string, unknown>; labels: number; at: string; undone_at: string | null; undone_by: string | null }

const SVG = "http://www.w3.org/2000/svg";
const words = (name: string) => name.replaceAll("_", " ");

function draw(tag: string, attributes: Record<string, string | number>, parent: Element): SVGElement {
  const made = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  parent.append(made);
  return made;
}

function make<K extends keyof HTMLElementTagNameMap>(tag: K, text = "", name = ""): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  made.textContent = text;
  if (name) made.className = name;
  return made;
}

export async function review(box: HTMLElement, input: Input): Promise<void> {
  let strip: Strip = [], frame: Frame | null = null, chosen = 0, whole = false, busy = false;
  const status = make("p", "", "hint");
  status.setAttribute("role", "status");
  const bar = make("div", "", "row review-bar"), slider = make("input"), stripes = make("canvas", "", "strip");
  const views = make("div", "", "review-views"), side = make("div", "", "review-side"), space = make("div");
  const list = make("table", "", "review-joints"), history = make("ol", "", "review-history"), rule = make("form", "", "card grid");
  const poses: Poses = { joints: input.joints, bones: input.bones, examples: [], grey: "as lifted at first (grey)" };
  let line: Timeline | null = null, curves: Track | null = null, stretch: Stretch | null = null, playing = 0;
  let viewer: Viewer | null = null;

  const button = (text: string, key: string, run: () => void, name = "") => {
    const made = make("button", text, name);
    made.type = "button";
    made.ariaKeyShortcuts = key;
    made.title = `Key ${key}`;
    made.addEventListener("click", run);
    bar.append(made);
    return made;
  };
  const key = (name: string) => () => void press(name);
  button("Previous", "ArrowLeft", key("ArrowLeft"));
  button("Next", "ArrowRight", key("ArrowRight"));
  button("Next waiting", "n", key("n"));
  button("Accept frame", "a", key("a"), "primary");
  button("Reject frame", "r", key("r"), "danger");
  button("Undo", "u", key("u"));
  const play = input.video ? button("Play", "p", key("p")) : null;
  const crop = make("label", "", "check"), tick = make("input");
  tick.type = "checkbox";
  tick.addEventListener("change", () => { whole = tick.checked; show(); });
  crop.append(tick, "whole pictures");
  bar.append(crop);
  slider.type = "range";
  slider.ariaLabel = "Frame";
  slider.addEventListener("change", () => void go(Number(slider.value)));
  stripes.setAttribute("role", "img");
  stripes.addEventListener("click", (event) => {
    const at = (event.clientX - stripes.getBoundingClientRect().left) / stripes.clientWidth;
    const near = strip[Math.min(strip.length - 1, Math.floor(at * strip.length))];
    if (near) void go(near[0]);
  });
  const grid = make("div", "", "review-grid"), main = make("div");
  const span = make("div", "", "row review-bar"), spanned = make("span", "Drag over the curves, or mark with [ and ], to choose a stretch."), inSpan: HTMLButtonElement[] = [];
  span.append(spanned);
  for (const [text, name] of [["Stretch from here", "["], ["Stretch to here", "]"]] as const) {
    const made = make("button", text);
    made.type = "button";
    made.ariaKeyShortcuts = name;
    made.title = `Key ${name}`;
    made.addEventListener("click", key(name));
    span.append(made);
  }
  for (const [text, verdict, name] of [["Accept stretch", "accepted", "primary"], ["Reject stretch", "rejected", "danger"]] as const) {
    const made = make("button", text, name);
    made.type = "button";
    made.disabled = true;
    made.addEventListener("click", () => { if (stretch && !busy) { busy = true; void decide({ verdict, rule: { frame: stretch[0], last_frame: stretch[1] } }).catch(failed).finally(() => { busy = false; }); } });
    inSpan.push(made);
    span.append(made);
  }
  box.replaceChildren(status, bar, stripes, slider, grid);
  main.append(views, rule, history);
  grid.append(main, side);
  side.append(space, list);

  const say = (text: string) => { status.textContent = text; };
  const failed = (error: unknown) => say(error instanceof Error ? error.message : "That did not work.");

  function choose(chosen: Stretch): void {
    stretch = chosen;
    for (const made of inSpan) made.disabled = false;
    spanned.textContent = `Stretch: frames ${chosen[0]} to ${chosen[1]} (${((chosen[1] - chosen[0] + 1) / (input.fps || 30)).toFixed(1)} s).`;
    for (const [name, value] of [["frame", chosen[0]], ["last_frame", chosen[1]]] as const) {
      const field = rule.elements.namedItem(name);
      if (field instanceof HTMLInputElement) field.value = String(value);
    }
    curves?.paint(frame?.frame ?? 0, stretch);
  }

  function stop(): void {
    playing += 1;
    if (play) { play.textContent = "Play"; play.ariaPressed = "false"; }
  }

  /** Draw stretches of frames at the pace of the video until it ends, somebody stops it, or leaves for another frame. */
  async function run(): Promise<void> {
    if (!frame || !play) return;
    const step = stepOf(input.fps || 30), pause = (1000 * step) / (input.fps || 30), own = (playing += 1);
    play.textContent = "Stop";
    play.ariaPressed = "true";
    const fetched = (first: number) => call<{ frames: Frame[] }>(`${input.url}stretch/?first=${first}&count=40&step=${step}`).then((found) => found.frames);
    let next: Promise<Frame[]> | null = fetched(frame.frame);
    while (next && own === playing) {
      const some: Frame[] = await next, after = (some.at(-1)?.frame ?? 0) + step;
      next = after < (some[0]?.frames ?? 0) ? fetched(after) : null;
      next?.catch(() => null);
      for (const one of some) {
        if (own !== playing) return;
        const due = performance.now() + pause;
        frame = one;
        scene();
        await new Promise((r) => setTimeout(r, Math.max(0, due - performance.now())));
      }
    }
    if (own === playing) { stop(); where(); show(); }
  }

  function paint(): void {
    curves?.paint(frame?.frame ?? 0, stretch);
    const width = (stripes.width = stripes.clientWidth * devicePixelRatio), height = (stripes.height = 28 * devicePixelRatio);
    const pen = stripes.getContext("2d");
    if (!pen) return;
    const style = getComputedStyle(box), each = width / Math.max(1, strip.length);
    strip.forEach(([number, ...counts], n) => {
      const all = counts.reduce((a, b) => a + b, 0);
      let y = 0;
      counts.forEach((count, k) => {
        pen.fillStyle = style.getPropertyValue(["--soft", "--ok", "--danger"][k] ?? "--soft");
        const tall = (height * count) / all;
        pen.fillRect(n * each, y, Math.max(1, each - 0.5), tall);
        y += tall;
      });
      if (number === frame?.frame) { pen.fillStyle = style.getPropertyValue("--accent"); pen.fillRect(n * each, 0, Math.max(3, each), height); }
    });
    const open = strip.filter(([, waiting]) => waiting > 0).length;
    stripes.setAttribute("aria-label", `${strip.length} frames with pseudo-labels, ${open} of them with something to decide`);
  }

  function view(number: number): HTMLElement {
    const seen = frame!.views[number]!, figure = make("figure"), [x, y, w, h] = whole ? [0, 0, ...seen.size] : around(seen);
    const svg = draw("svg", { viewBox: `${x} ${y} ${w} ${h}`, role: "img", "aria-label": `${seen.camera}, frame ${frame!.frame}` }, figure);
    if (seen.picture) draw("image", { href: `${input.url}views/${number}/${frame!.frame}/`, x: -0.5, y: -0.5, width: seen.size[0], height: seen.size[1] }, svg);
    const unit = w / 100, verdict = (j: number) => frame!.joints[j]?.verdict ?? "none";
    for (const [a, b] of input.bones) {
      const from = seen.joints[a], to = seen.joints[b];
      if (from && to) draw("line", { x1: from.at[0], y1: from.at[1], x2: to.at[0], y2: to.at[1], "stroke-width": 0.5 * unit, class: "bone" }, svg);
    }
    seen.joints.forEach((joint, j) => {
      if (!joint) return;
      const { rx, ry, turn } = ellipse(joint.covariance), at = `translate(${joint.at[0]} ${joint.at[1]})`;
      draw("ellipse", { rx, ry, transform: `${at} rotate(${turn})`, class: "spread", "stroke-width": 0.25 * unit }, svg);
      if (joint.detected) draw("line", { x1: joint.at[0], y1: joint.at[1], x2: joint.detected[0], y2: joint.detected[1], class: "off", "stroke-width": 0.4 * unit }, svg);
      const dot = draw("circle", { r: (j === chosen ? 1.8 : 1.1) * unit, transform: at, class: `joint ${verdict(j)}${j === chosen ? " chosen" : ""}`, "stroke-width": 0.3 * unit }, svg);
      draw("title", {}, dot).textContent = words(input.joints[j] ?? "");
      dot.addEventListener("click", () => { chosen = j; show(); });
    });
    figure.append(make("figcaption", seen.camera + (seen.picture ? "" : " (no picture)")));
    return figure;
  }

  function joints(): void {
    const head = make("thead"), row = make("tr"), body = make("tbody");
    for (const title of ["Joint", "Error", "Spread", "Verdict"]) row.append(make("th", title));
    head.append(row);
    frame!.joints.forEach((joint, j) => {
      const line = make("tr", "", j === chosen ? "chosen" : ""), pick = make("button", words(joint.name), "plain"), name = make("td");
      pick.type = "button";
      pick.setAttribute("aria-pressed", String(j === chosen));
      pick.addEventListener("click", () => { chosen = j; show(); });
      name.append(pick);
      const verdict = make("td");
      verdict.append(make("span", joint.verdict ?? (joint.there ? "not kept" : joint.outcome), `state ${joint.verdict ?? ""}`));
      line.append(name, make("td", joint.error_px === null ? "–" : `${joint.error_px} px`), make("td", joint.there ? `${joint.spread_mm} mm` : "–"), verdict);
      body.append(line);
    });
    list.replaceChildren(head, body);
  }

  function show(): void {
    if (!frame) return;
    scene();
    joints();
    paint();
  }

  /** What changes while playing: the pictures, the 3D pose, where one is. */
  function scene(): void {
    if (!frame) return;
    slider.max = String(frame.frames - 1);
    slider.value = String(frame.frame);
    const place = line && placeOf(line, frame.frame);
    slider.setAttribute("aria-valuetext", place ? `frame ${frame.frame}: clip ${place.clip}, frame ${place.picture} of the video` : `frame ${frame.frame}`);
    views.replaceChildren(...frame.views.map((_, n) => view(n)));
    curves?.paint(frame.frame, stretch);
    // World (z up) to the viewer's frame (y down).
    const turned = ([x, y, z]: [number, number, number]) => [x, -z, y], first = frame.joints[0]?.before_mm;
    if (frame.joints.some((j) => j.there)) {
      poses.examples = [{
        name: place ? `frame ${frame.frame}, clip ${place.clip}` : `frame ${frame.frame}`, error_mm: null, pose_mm: frame.joints.map((j) => turned(j.position_mm)),
        truth_mm: first ? frame.joints.map((j) => turned(j.before_mm ?? j.position_mm)) : null, spread_mm: frame.joints.map((j) => (j.there ? j.spread_mm : 0)),
      }];
      try { viewer ? viewer.update() : (viewer = mount(space, poses)); } catch { space.textContent = "This browser does not draw WebGL, which the 3D viewer needs."; }
    }
  }

  async function go(number: number): Promise<void> {
    stop();
    frame = await call<Frame>(`${input.url}frames/${Math.max(0, number)}/`);
    where();
    show();
  }

  function where(): void {
    if (!frame) return;
    const place = line && placeOf(line, frame.frame);
    say(`Frame ${frame.frame} of 0 to ${frame.frames - 1}${place ? ` (clip ${place.clip}, frame ${place.picture} of the video)` : ""}. Arrows go through frames and joints; a and r decide the frame, y and x the joint, u undoes${input.video ? ", p plays" : ""}.`);
  }

  async function reload(): Promise<void> {
    strip = (await call<{ frames: Strip }>(`${input.url}strip/`)).frames;
    const past = await call<Past[]>(`${input.url}reviews/`);
    history.replaceChildren(...past.slice(0, 12).map((p) => {
      const what = Object.entries(p.rule).map(([k, v]) => `${words(k)} ${String(v)}`).join(", ") || "everything";
      return make("li", `${p.reviewer ?? "somebody"} ${p.verdict} ${p.labels} (${what}), ${new Date(p.at).toLocaleString()}${p.undone_at ? `; taken back by ${p.undone_by ?? "somebody"}` : ""}`);
    }));
  }

  async function decide(decision: Decision): Promise<void> {
    const done = await call<Past>(`${input.url}reviews/`, decision);
    await reload();
    await go(frame?.frame ?? 0);
    say(`${done.labels} ${done.verdict}.`);
  }

  async function press(name: string): Promise<void> {
    if (!frame || busy) return;
    const wanted = act(name, frame, chosen);
    if (!wanted) return;
    if ("play" in wanted) {
      if (play?.ariaPressed === "true") { stop(); where(); show(); } else await run().catch((error: unknown) => { stop(); failed(error); });
      return;
    }
    if ("mark" in wanted) {
      const other = stretch?.[wanted.mark === "first" ? 1 : 0] ?? frame.frame;
      if (input.video) choose(wanted.mark === "first" ? [frame.frame, Math.max(frame.frame, other)] : [Math.min(frame.frame, other), frame.frame]);
      return;
    }
    busy = true;
    try {
      if ("undo" in wanted) {
        const back = await call<Past>(`${input.url}undo/`, {});
        await reload();
        await go(frame.frame);
        say(`Taken back: ${back.labels} ${back.verdict}.`);
      } else if ("decide" in wanted) await decide(wanted.decide);
      else if ("choose" in wanted) { chosen = (chosen + wanted.choose + input.joints.length) % input.joints.length; show(); }
      else if (wanted.go === "waiting") {
        const found = nextWaiting(strip, frame.frame) ?? nextWaiting(strip, -1);
        if (found === null) say("Everything is decided."); else await go(found);
      } else await go(Math.min(frame.frames - 1, frame.frame + (wanted.go === "next" ? 1 : -1)));
    } catch (error) { failed(error); } finally { busy = false; }
  }

  document.addEventListener("keydown", (event) => {
    const at = event.target as HTMLElement;
    if (event.ctrlKey || event.metaKey || event.altKey || at.closest("input:not([type=checkbox]), select, textarea, canvas")) return;
    if (frame && act(event.key, frame, chosen)) { event.preventDefault(); void press(event.key); }
  });
  addEventListener("resize", paint);

  const field = (name: string, title: string, made: HTMLInputElement | HTMLSelectElement) => {
    const label = make("label", title);
    made.name = name;
    label.append(made);
    rule.append(label);
  };
  const choice = (...options: [string, string][]) => { const made = make("select"); for (const [value, text] of options) made.append(new Option(text, value)); return made; };
  rule.append(make("h2", "Decide by rule", "wide"));
  field("surest", "Surest of each joint (%)", make("input"));
  field("most_error_px", "Error at most (px)", make("input"));
  field("least_error_px", "Error at least (px)", make("input"));
  field("joint", "Joint", choice(["", "any"], ...input.joints.map((j): [string, string] => [j, words(j)])));
  field("camera", "Fits worst in", choice(["", "any camera"], ...input.cameras.map((c): [string, string] => [c, c])));
  field("frame", "From frame", make("input"));
  field("last_frame", "To frame", make("input"));
  field("verdict", "Now", choice(["waiting", "waiting"], ["", "any"], ["accepted", "accepted"], ["rejected", "rejected"]));
  const fields = () => ruleOf(Object.fromEntries([...new FormData(rule)].map(([k, v]) => [k, String(v)])));
  for (const [text, verdict, name] of [["Accept these", "accepted", "primary"], ["Reject these", "rejected", "danger"]] as const) {
    const made = make("button", text, name);
    made.type = "button";
    made.addEventListener("click", () => {
      void (async () => {
        const { labels } = await call<{ labels: number }>(`${input.url}count/`, fields());
        if (!labels) say("No pseudo-label fits this rule.");
        else if (confirm(`${text}: ${labels} pseudo-labels?`)) await decide({ verdict, rule: fields() });
      })().catch(failed);
    });
    rule.append(made);
  }
  rule.addEventListener("submit", (event) => event.preventDefault());
  try {
    await reload();
    if (input.video) {
      line = await call<Timeline>(`${input.url}timeline/?points=${Math.max(100, Math.min(1200, Math.round(box.clientWidth)))}`);
      if (line.at.length) {
        curves = track(line, (number) => void go(number).catch(failed), choose);
        stripes.before(curves.box);
        slider.after(span);
      }
    }
    await go(nextWaiting(strip, -1) ?? strip[0]?.[0] ?? 0);
    if (!strip.length) say("This harvest kept nothing: there is nothing to review.");
  } catch (error) { failed(error); }
}
