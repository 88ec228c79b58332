// The review page: views with the reprojected skeleton and its uncertainty, a strip of frames, joints, rules, history.
import { render } from "preact";
import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { call } from "../api";
import { mount, type Poses, type Viewer } from "../viewer/poses";
import {
  act,
  around,
  type Decision,
  deed,
  dragged,
  type Exchange,
  ellipse,
  type Frame,
  ruleOf,
  type Strip,
  type Verdict,
  type View,
} from "./rules";
import { type Effect, type Event, type Input, type Past, START, type State, step } from "./state";
import { placeOf, type Stretch, stepOf, type Timeline, type Track, track } from "./timeline";

type Send = (event: Event) => void;
const words = (name: string) => name.replaceAll("_", " ");
const inWords = (error: unknown) => (error instanceof Error ? error.message : "That did not work.");

/** What the page asks the server for, and what it plays. Each answer comes back as an event. */
class Runner {
  private plays = 0;
  constructor(
    private readonly input: Input,
    private readonly send: Send,
    private readonly frame: () => Frame | null,
  ) {}

  run(effect: Effect): void {
    if (effect.run === "stop") this.plays += 1;
    else void this.work(effect).catch((error: unknown) => this.send({ kind: "failed", text: inWords(error) }));
  }

  async open(width: number): Promise<void> {
    const { strip, history } = await this.lists();
    const points = Math.max(100, Math.min(1200, Math.round(width)));
    const timeline = this.input.video ? await call<Timeline>(`${this.input.url}timeline/?points=${points}`) : null;
    this.send({ kind: "opened", strip, history, timeline: timeline?.at.length ? timeline : null });
  }

  private async work(effect: Exclude<Effect, { run: "stop" }>): Promise<void> {
    if (effect.run === "load") this.send({ kind: "arrived", frame: await this.load(effect.frame) });
    else if (effect.run === "play") await this.play(effect.frame);
    else {
      const undone = effect.run === "undo";
      const past = await this.change(effect);
      const books = { ...(await this.lists()), frame: await this.load(this.frame()?.frame ?? 0) };
      this.send({ kind: "decided", past, undone, books });
    }
  }

  private change(effect: Exclude<Effect, { run: "stop" | "load" | "play" }>): Promise<Past> {
    const url = this.input.url;
    if (effect.run === "undo") return call<Past>(`${url}undo/`, { review: effect.review ?? null });
    if (effect.run === "place") return call<Past>(`${url}place/`, effect.placing);
    if (effect.run === "exchange") return call<Past>(`${url}exchange/`, effect.exchange);
    return call<Past>(`${url}reviews/`, effect.decision);
  }

  private load(frame: number): Promise<Frame> {
    return call<Frame>(`${this.input.url}frames/${frame}/`);
  }

  private async lists(): Promise<{ strip: Strip; history: Past[] }> {
    const strip = (await call<{ frames: Strip }>(`${this.input.url}strip/`)).frames;
    return { strip, history: await call<Past[]>(`${this.input.url}reviews/`) };
  }

  /** Frames at the pace of the video until it ends, somebody stops it, or leaves for another frame. */
  private async play(from: number): Promise<void> {
    const fps = this.input.fps || 30;
    const skip = stepOf(fps);
    const own = ++this.plays;
    const some = (first: number) =>
      call<{ frames: Frame[] }>(`${this.input.url}stretch/?first=${first}&count=40&step=${skip}`).then((r) => r.frames);
    let next: Promise<Frame[]> | null = some(from);
    while (next && own === this.plays) {
      const frames: Frame[] = await next;
      const after = (frames.at(-1)?.frame ?? 0) + skip;
      next = after < (frames[0]?.frames ?? 0) ? some(after) : null;
      next?.catch(() => null);
      for (const frame of frames) {
        if (own !== this.plays) return;
        const due = performance.now() + (1000 * skip) / fps;
        this.send({ kind: "played", frame });
        await new Promise((done) => setTimeout(done, Math.max(0, due - performance.now())));
      }
    }
    if (own === this.plays) this.send({ kind: "stopped" });
  }
}

function Page({ input, width }: { input: Input; width: number }) {
  const [state, setState] = useState<State>(START);
  const current = useRef(state);
  const runner = useRef<Runner | null>(null);
  const send = useCallback<Send>(
    (event) => {
      const [next, effects] = step(current.current, event, input);
      current.current = next;
      setState(next);
      for (const effect of effects) runner.current?.run(effect);
    },
    [input],
  );
  useEffect(() => {
    runner.current = new Runner(input, send, () => current.current.frame);
    runner.current.open(width).catch((error: unknown) => send({ kind: "failed", text: inWords(error) }));
    const onKey = (event: KeyboardEvent) => {
      const at = event.target as HTMLElement;
      const typing = at.closest("input:not([type=checkbox]), select, textarea, canvas");
      const { frame, joint } = current.current;
      if (event.ctrlKey || event.metaKey || event.altKey || typing || !frame || !act(event.key, frame, joint)) return;
      event.preventDefault();
      send({ kind: "key", key: event.key });
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, [input, send, width]);
  const { frame, timeline } = state;
  return (
    <>
      <p class="hint" role="status">
        {state.status}
      </p>
      <Toolbar input={input} state={state} send={send} />
      {timeline && <Curves timeline={timeline} state={state} send={send} />}
      <StripOfFrames state={state} send={send} />
      {frame && <Slider input={input} frame={frame} send={send} />}
      {timeline && <StretchTools input={input} state={state} send={send} />}
      <div class="review-grid">
        <div>
          <div class="review-views">
            {frame?.views.map((view, n) => (
              <Picture key={view.camera} input={input} state={state} view={view} number={n} send={send} />
            ))}
          </div>
          {frame && <Place input={input} frame={frame} joint={state.joint} busy={state.busy} send={send} />}
          {(input.people ?? []).length > 1 && <Swap busy={state.busy} send={send} />}
          <ByRule input={input} stretch={state.stretch} send={send} />
          <History past={state.history} />
        </div>
        <div class="review-side">
          {frame && <Space input={input} frame={frame} />}
          {frame && <Joints frame={frame} chosen={state.joint} send={send} />}
        </div>
      </div>
    </>
  );
}

interface Part {
  input: Input;
  state: State;
  send: Send;
}

const TOOLS: [text: string, key: string, name: string][] = [
  ["Previous", "ArrowLeft", ""],
  ["Next", "ArrowRight", ""],
  ["Next waiting", "n", ""],
  ["Accept frame", "a", "primary"],
  ["Reject frame", "r", "danger"],
  ["Undo", "u", ""],
];

function KeyButton({ text, name, send, ...rest }: { text: string; name: string; send: Send; class?: string }) {
  const press = () => send({ kind: "key", key: name });
  return (
    <button type="button" title={`Key ${name}`} aria-keyshortcuts={name} onClick={press} {...rest}>
      {text}
    </button>
  );
}

function Toolbar({ input, state, send }: Part) {
  return (
    <div class="row review-bar">
      {TOOLS.map(([text, key, name]) => (
        <KeyButton key={key} text={text} name={key} send={send} class={name} />
      ))}
      {input.video && (
        <button
          type="button"
          title="Key p"
          aria-keyshortcuts="p"
          aria-pressed={state.playing}
          onClick={() => send({ kind: "key", key: "p" })}
        >
          {state.playing ? "Stop" : "Play"}
        </button>
      )}
      <label class="check">
        <input
          type="checkbox"
          checked={state.wholePictures}
          onChange={(event) => send({ kind: "whole pictures", on: event.currentTarget.checked })}
        />
        whole pictures
      </label>
    </div>
  );
}

/** The canvas of the timeline, which paints itself. */
function Curves({ timeline, state, send }: { timeline: Timeline; state: State; send: Send }) {
  const place = useRef<HTMLDivElement>(null);
  const drawn = useRef<Track | null>(null);
  useLayoutEffect(() => {
    const go = (frame: number) => send({ kind: "go", frame });
    drawn.current = track(timeline, go, (stretch) => send({ kind: "stretch", stretch }));
    place.current?.replaceChildren(drawn.current.box);
  }, [timeline, send]);
  useLayoutEffect(() => drawn.current?.paint(state.frame?.frame ?? 0, state.stretch));
  return <div ref={place} />;
}

/** One column a frame: what waits, is accepted, is rejected. A click goes there. */
function StripOfFrames({ state: { strip, frame }, send }: { state: State; send: Send }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useLayoutEffect(() => {
    const paint = () => canvas.current && paintStrip(canvas.current, strip, frame?.frame ?? null);
    paint();
    addEventListener("resize", paint);
    return () => removeEventListener("resize", paint);
  });
  const waiting = strip.filter(([, open]) => open > 0).length;
  const go = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const near = strip[Math.min(strip.length - 1, Math.floor(((event.clientX - box.left) / box.width) * strip.length))];
    if (near) send({ kind: "go", frame: near[0] });
  };
  const about = `${strip.length} frames with pseudo-labels, ${waiting} of them with something to decide`;
  return <canvas ref={canvas} class="strip" role="img" aria-label={about} onClick={go} />;
}

function paintStrip(canvas: HTMLCanvasElement, strip: Strip, current: number | null): void {
  canvas.width = canvas.clientWidth * devicePixelRatio;
  canvas.height = 28 * devicePixelRatio;
  const pen = canvas.getContext("2d");
  if (!pen) return;
  const style = getComputedStyle(canvas);
  const each = canvas.width / Math.max(1, strip.length);
  strip.forEach(([frame, ...counts], n) => {
    const all = counts.reduce((a, b) => a + b, 0);
    let y = 0;
    counts.forEach((count, k) => {
      const tall = (canvas.height * count) / all;
      pen.fillStyle = style.getPropertyValue(["--soft", "--ok", "--danger"][k] ?? "--soft");
      pen.fillRect(n * each, y, Math.max(1, each - 0.5), tall);
      y += tall;
    });
    if (frame !== current) return;
    pen.fillStyle = style.getPropertyValue("--accent");
    pen.fillRect(n * each, 0, Math.max(3, each), canvas.height);
  });
}

function Slider({ input, frame, send }: { input: Input; frame: Frame; send: Send }) {
  const place = placeOf(frame, input.video === true);
  const about = `frame ${frame.frame}${place ? `: ${place}` : ""}`;
  return (
    <input
      type="range"
      aria-label="Frame"
      min={0}
      max={frame.frames - 1}
      value={frame.frame}
      aria-valuetext={about}
      onChange={(event) => send({ kind: "go", frame: Number(event.currentTarget.value) })}
    />
  );
}

function StretchTools({ input, state: { stretch, busy }, send }: Part) {
  const decide = (verdict: Verdict) => () =>
    stretch && send({ kind: "decide", decision: { verdict, rule: { frame: stretch[0], last_frame: stretch[1] } } });
  const seconds = stretch ? ((stretch[1] - stretch[0] + 1) / (input.fps || 30)).toFixed(1) : "";
  const about = stretch
    ? `Stretch: frames ${stretch[0]} to ${stretch[1]} (${seconds} s).`
    : "Drag over the curves, or mark with [ and ], to choose a stretch.";
  return (
    <div class="row review-bar">
      <span>{about}</span>
      <KeyButton text="Stretch from here" name="[" send={send} />
      <KeyButton text="Stretch to here" name="]" send={send} />
      <button type="button" class="primary" disabled={!stretch || busy} onClick={decide("accepted")}>
        Accept stretch
      </button>
      <button type="button" class="danger" disabled={!stretch || busy} onClick={decide("rejected")}>
        Reject stretch
      </button>
    </div>
  );
}

/** One view: the picture, the reprojected bones, twice the standard deviation of each joint, and its detection. */
function Picture({ input, state, view, number, send }: Part & { view: View; number: number }) {
  const frame = state.frame as Frame;
  const [drag, setDrag] = useState<{ joint: number; at: [number, number] } | null>(null);
  const box = useRef<SVGSVGElement>(null);
  const [x, y, w, h] = state.wholePictures ? [0, 0, ...view.size] : around(view);
  const where = (event: PointerEvent): [number, number] => {
    const matrix = box.current?.getScreenCTM()?.inverse();
    const point = matrix && new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    return point ? [point.x, point.y] : [0, 0];
  };
  const drop = (joint: number, event: PointerEvent) => {
    const seen = view.joints[joint];
    const to = seen && dragged(seen.at, where(event), box.current?.getScreenCTM()?.a ?? 1, view.size);
    setDrag(null);
    send({ kind: "joint", joint });
    if (to) {
      const placing = { frame: frame.frame, joint: input.joints[joint] ?? "", camera: view.camera, x: to[0], y: to[1] };
      send({ kind: "place", placing });
    }
  };
  const unit = w / 100;
  const href = `${input.url}views/${number}/${frame.frame}/`;
  return (
    <figure>
      <svg ref={box} viewBox={`${x} ${y} ${w} ${h}`} role="img" aria-label={`${view.camera}, frame ${frame.frame}`}>
        {view.picture && <image href={href} x={-0.5} y={-0.5} width={view.size[0]} height={view.size[1]} />}
        {input.bones.map(([a, b]) => {
          const [from, to] = [view.joints[a]?.at, view.joints[b]?.at];
          if (!from || !to) return null;
          return <line class="bone" x1={from[0]} y1={from[1]} x2={to[0]} y2={to[1]} stroke-width={0.5 * unit} />;
        })}
        {view.joints.map((_, j) => (
          <Mark
            input={input}
            state={state}
            view={view}
            joint={j}
            unit={unit}
            at={drag?.joint === j ? drag.at : null}
            move={(event) => setDrag({ joint: j, at: where(event) })}
            drop={(event) => drop(j, event)}
          />
        ))}
      </svg>
      <figcaption>{view.camera + (view.picture ? "" : " (no picture)")}</figcaption>
    </figure>
  );
}

interface MarkParts {
  input: Input;
  state: State;
  view: View;
  joint: number;
  unit: number;
  at: [number, number] | null;
  move: (event: PointerEvent) => void;
  drop: (event: PointerEvent) => void;
}

/** One joint in a view; a click chooses it, dragging places it elsewhere. */
function Mark({ input, state, view, joint, unit, at, move, drop }: MarkParts) {
  const held = useRef(false);
  const seen = view.joints[joint];
  if (!seen) return null;
  const [x, y] = at ?? seen.at;
  const press = (event: PointerEvent) => {
    held.current = true;
    (event.currentTarget as Element).setPointerCapture(event.pointerId);
    event.preventDefault();
  };
  const release = (event: PointerEvent) => {
    if (held.current) drop(event);
    held.current = false;
  };
  const { rx, ry, turn } = ellipse(seen.covariance);
  const chosen = joint === state.joint;
  const verdict = state.frame?.joints[joint]?.verdict ?? "none";
  const spread = `translate(${x} ${y}) rotate(${turn})`;
  return (
    <>
      <ellipse class="spread" rx={rx} ry={ry} transform={spread} stroke-width={0.25 * unit} />
      {seen.detected && (
        <line class="off" x1={x} y1={y} x2={seen.detected[0]} y2={seen.detected[1]} stroke-width={0.4 * unit} />
      )}
      <circle
        class={`joint ${verdict}${chosen ? " chosen" : ""}`}
        r={(chosen ? 1.8 : 1.1) * unit}
        transform={`translate(${x} ${y})`}
        stroke-width={0.3 * unit}
        onPointerDown={press}
        onPointerMove={(event) => held.current && move(event)}
        onPointerUp={release}
      >
        <title>{words(input.joints[joint] ?? "")}</title>
      </circle>
    </>
  );
}

function Joints({ frame, chosen, send }: { frame: Frame; chosen: number; send: Send }) {
  return (
    <table class="review-joints">
      <thead>
        <tr>
          <th>Joint</th>
          <th>Error</th>
          <th>Spread</th>
          <th>Verdict</th>
        </tr>
      </thead>
      <tbody>
        {frame.joints.map((joint, j) => (
          <tr key={joint.name} class={j === chosen ? "chosen" : ""}>
            <td>
              <button
                type="button"
                class="plain"
                aria-pressed={j === chosen}
                onClick={() => send({ kind: "joint", joint: j })}
              >
                {words(joint.name)}
              </button>
            </td>
            <td>{joint.error_px === null ? "–" : `${joint.error_px} px`}</td>
            <td>{joint.there ? `${joint.spread_mm} mm` : "–"}</td>
            <td>
              <span class={`state ${joint.verdict ?? ""}`}>
                {joint.verdict ?? (joint.there ? "not kept" : joint.outcome)}
              </span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The pose in 3D. World (z up) to the viewer's frame (y down). */
function Space({ input, frame }: { input: Input; frame: Frame }) {
  const box = useRef<HTMLDivElement>(null);
  const poses = useRef<Poses>({
    joints: input.joints,
    bones: input.bones,
    examples: [],
    grey: "as lifted at first (grey)",
  });
  const viewer = useRef<Viewer | null>(null);
  useLayoutEffect(() => {
    if (!box.current || !frame.joints.some((joint) => joint.there)) return;
    const upright = ([x, y, z]: [number, number, number]) => [x, -z, y];
    const place = placeOf(frame, input.video === true);
    poses.current.examples = [
      {
        name: `frame ${frame.frame}${place ? `, ${place}` : ""}`,
        error_mm: null,
        pose_mm: frame.joints.map((joint) => upright(joint.position_mm)),
        truth_mm: frame.joints[0]?.before_mm
          ? frame.joints.map((joint) => upright(joint.before_mm ?? joint.position_mm))
          : null,
        spread_mm: frame.joints.map((joint) => (joint.there ? joint.spread_mm : 0)),
      },
    ];
    try {
      if (viewer.current) viewer.current.update();
      else viewer.current = mount(box.current, poses.current);
    } catch {
      box.current.textContent = "This browser does not draw WebGL, which the 3D viewer needs.";
    }
  }, [frame, input]);
  return <div ref={box} />;
}

const numberIn = (form: HTMLFormElement | null, name: string): number => {
  const field = form?.elements.namedItem(name);
  return field instanceof HTMLInputElement && field.value.trim() ? Number(field.value.replace(",", ".")) : Number.NaN;
};

/** The chosen joint's place in one view, in numbers: what dragging does, by keyboard. */
function Place({
  input,
  frame,
  joint,
  busy,
  send,
}: Omit<Part, "state"> & { frame: Frame; joint: number; busy: boolean }) {
  const form = useRef<HTMLFormElement>(null);
  const name = input.joints[joint] ?? "";
  const put = (event: SubmitEvent) => {
    event.preventDefault();
    const camera = String(new FormData(form.current ?? undefined).get("camera"));
    const [x, y] = [numberIn(form.current, "x"), numberIn(form.current, "y")];
    if (Number.isFinite(x) && Number.isFinite(y)) {
      send({ kind: "place", placing: { frame: frame.frame, joint: name, camera, x, y } });
    } else send({ kind: "say", text: "Give x and y in px." });
  };
  return (
    <form ref={form} class="card grid" onSubmit={put}>
      <h2 class="wide">Place {words(name)}</h2>
      <p class="hint wide">Drag a joint in a picture, or say where it is. It is triangulated again and accepted.</p>
      <Field name="camera" title="In" choices={input.cameras.map((c): [string, string] => [c, c])} />
      <Field name="x" title="x (px)" />
      <Field name="y" title="y (px)" />
      <button type="submit" disabled={busy}>
        Place
      </button>
    </form>
  );
}

/** Two people who were taken for each other in a stretch of the recording. */
function Swap({ busy, send }: { busy: boolean; send: Send }) {
  const form = useRef<HTMLFormElement>(null);
  const swap = (event: SubmitEvent) => {
    event.preventDefault();
    const [person, other, first, last] = ["person", "other", "first", "last"].map((n) => numberIn(form.current, n));
    if ([person, other, first, last].every(Number.isInteger)) {
      const exchange = { person, other, first, last } as Exchange;
      send({ kind: "exchange", exchange });
    } else send({ kind: "say", text: "Give two people and the first and last frame of the recording." });
  };
  return (
    <form ref={form} class="card grid" onSubmit={swap}>
      <h2 class="wide">Exchange two people</h2>
      <Field name="person" title="Person" />
      <Field name="other" title="and person" />
      <Field name="first" title="From frame of the recording" />
      <Field name="last" title="To frame" />
      <button type="submit" disabled={busy}>
        Exchange
      </button>
    </form>
  );
}

function ByRule({ input, stretch, send }: { input: Input; stretch: Stretch | null; send: Send }) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    for (const [n, name] of ["frame", "last_frame"].entries()) {
      const field = form.current?.elements.namedItem(name);
      if (stretch && field instanceof HTMLInputElement) field.value = String(stretch[n]);
    }
  }, [stretch]);
  const decide = (text: string, verdict: Verdict) => async () => {
    const fields = Object.fromEntries([...new FormData(form.current ?? undefined)].map(([k, v]) => [k, String(v)]));
    const decision: Decision = { verdict, rule: ruleOf(fields) };
    try {
      const { labels } = await call<{ labels: number }>(`${input.url}count/`, decision.rule);
      if (!labels) send({ kind: "say", text: "No pseudo-label fits this rule." });
      else if (confirm(`${text}: ${labels} pseudo-labels?`)) send({ kind: "decide", decision });
    } catch (error) {
      send({ kind: "failed", text: inWords(error) });
    }
  };
  const any = (title: string): [string, string] => ["", title];
  const states: [string, string][] = [
    ["waiting", "waiting"],
    ["", "any"],
    ["accepted", "accepted"],
    ["rejected", "rejected"],
  ];
  return (
    <form ref={form} class="card grid" onSubmit={(event) => event.preventDefault()}>
      <h2 class="wide">Decide by rule</h2>
      <Field name="surest" title="Surest of each joint (%)" />
      <Field name="most_error_px" title="Error at most (px)" />
      <Field name="least_error_px" title="Error at least (px)" />
      <Field
        name="joint"
        title="Joint"
        choices={[any("any"), ...input.joints.map((j): [string, string] => [j, words(j)])]}
      />
      <Field
        name="camera"
        title="Fits worst in"
        choices={[any("any camera"), ...input.cameras.map((c): [string, string] => [c, c])]}
      />
      {(input.people ?? []).length > 1 && !input.video && (
        <Field
          name="person"
          title="Person"
          choices={[any("anybody"), ...(input.people ?? []).map((n): [string, string] => [`${n}`, `${n}`])]}
        />
      )}
      <Field name="frame" title="From frame" />
      <Field name="last_frame" title="To frame" />
      <Field name="verdict" title="Now" choices={states} />
      <button type="button" class="primary" onClick={() => void decide("Accept these", "accepted")()}>
        Accept these
      </button>
      <button type="button" class="danger" onClick={() => void decide("Reject these", "rejected")()}>
        Reject these
      </button>
    </form>
  );
}

function Field({ name, title, choices }: { name: string; title: string; choices?: [value: string, text: string][] }) {
  return (
    // biome-ignore lint/a11y/noLabelWithoutControl: its control is one of the two branches
    <label>
      {title}
      {choices ? (
        <select name={name}>
          {choices.map(([value, text]) => (
            <option key={value} value={value}>
              {text}
            </option>
          ))}
        </select>
      ) : (
        <input name={name} />
      )}
    </label>
  );
}

function History({ past }: { past: Past[] }) {
  const rule = (one: Past) =>
    Object.entries(one.rule)
      .filter(([key]) => key !== "rows")
      .map(([key, value]) => `${words(key)} ${String(value)}`)
      .join(", ") || "everything";
  return (
    <ol class="review-history">
      {past.slice(0, 12).map((one) => (
        <li key={one.at}>
          {`${one.reviewer ?? "somebody"} ${deed(one.verdict, one.rule)} ${one.labels} (${rule(one)}), ${new Date(one.at).toLocaleString()}`}
          {one.undone_at && `; taken back by ${one.undone_by ?? "somebody"}`}
        </li>
      ))}
    </ol>
  );
}

export function review(box: HTMLElement, input: Input): void {
  const width = box.clientWidth;
  box.replaceChildren();
  render(<Page input={input} width={width} />, box);
}
