// The core of the review page: what is on it, and what each event makes of that. No DOM and no network here.
import type { Schemas } from "../api";
import { act, type Decision, deed, type Exchange, type Frame, nextWaiting, type Placing, type Strip } from "./rules";
import { placeOf, type Stretch, type Timeline } from "./timeline";

export interface Input {
  url: string;
  joints: string[];
  bones: [number, number][];
  cameras: string[];
  inlier_px: number;
  video?: boolean;
  people?: number[];
  fps?: number;
}

export type Past = Schemas["ReviewShape"];

export interface State {
  strip: Strip;
  history: Past[];
  timeline: Timeline | null;
  frame: Frame | null;
  joint: number;
  stretch: Stretch | null;
  wholePictures: boolean;
  playing: boolean;
  busy: boolean;
  status: string;
}

/** The strip, the history and the frame as the server has them now. */
export interface Books {
  strip: Strip;
  history: Past[];
  frame: Frame;
}

export type Event =
  | { kind: "opened"; strip: Strip; history: Past[]; timeline: Timeline | null }
  | { kind: "key"; key: string }
  | { kind: "go"; frame: number }
  | { kind: "arrived"; frame: Frame }
  | { kind: "played"; frame: Frame }
  | { kind: "stopped" }
  | { kind: "joint"; joint: number }
  | { kind: "stretch"; stretch: Stretch }
  | { kind: "whole pictures"; on: boolean }
  | { kind: "decide"; decision: Decision }
  | { kind: "place"; placing: Placing }
  | { kind: "exchange"; exchange: Exchange }
  | { kind: "decided"; past: Past; undone: boolean; books: Books }
  | { kind: "say"; text: string }
  | { kind: "failed"; text: string };

export type Effect =
  | { run: "load"; frame: number }
  | { run: "decide"; decision: Decision }
  | { run: "place"; placing: Placing }
  | { run: "exchange"; exchange: Exchange }
  | { run: "undo"; review?: string }
  | { run: "play"; frame: number }
  | { run: "stop" };

export const START: State = {
  strip: [],
  history: [],
  timeline: null,
  frame: null,
  joint: 0,
  stretch: null,
  wholePictures: false,
  playing: false,
  busy: false,
  status: "",
};

/** Where one is and what the keys do, in words. */
export function whereabouts(state: State, input: Input): string {
  const { frame } = state;
  if (!frame) return "";
  const place = placeOf(frame, input.video === true);
  const clip = place ? ` (${place})` : "";
  const keys = `Arrows go through frames and joints; a and r decide the frame, y and x the joint, u undoes${input.video ? ", p plays" : ""}.`;
  return `Frame ${frame.frame} of 0 to ${frame.frames - 1}${clip}. ${keys}`;
}

/** The stretch after one of its ends was put to `frame`; the other end goes along where it would come first. */
export function marked(stretch: Stretch | null, end: "first" | "last", frame: number): Stretch {
  if (end === "first") return [frame, Math.max(frame, stretch?.[1] ?? frame)];
  return [Math.min(frame, stretch?.[0] ?? frame), frame];
}

/** The page after an event, and what has to be done besides. */
export function step(state: State, event: Event, input: Input): [State, Effect[]] {
  switch (event.kind) {
    case "opened": {
      const { strip, history, timeline } = event;
      const status = strip.length ? "" : "This harvest kept nothing: there is nothing to review.";
      const first = nextWaiting(strip, -1) ?? strip[0]?.[0];
      const effects: Effect[] = first === undefined ? [] : [{ run: "load", frame: first }];
      return [{ ...state, strip, history, timeline, status }, effects];
    }
    case "arrived": {
      const next = { ...state, frame: event.frame };
      return [{ ...next, status: whereabouts(next, input) }, []];
    }
    case "played":
      return [{ ...state, frame: event.frame }, []];
    case "stopped":
      return [{ ...state, playing: false, status: whereabouts(state, input) }, []];
    case "go":
      return [{ ...state, playing: false }, [{ run: "stop" }, { run: "load", frame: Math.max(0, event.frame) }]];
    case "joint":
      return [{ ...state, joint: event.joint }, []];
    case "stretch":
      return [{ ...state, stretch: event.stretch }, []];
    case "whole pictures":
      return [{ ...state, wholePictures: event.on }, []];
    case "decide":
      return state.busy ? [state, []] : [{ ...state, busy: true }, [{ run: "decide", decision: event.decision }]];
    case "place":
      return state.busy ? [state, []] : [{ ...state, busy: true }, [{ run: "place", placing: event.placing }]];
    case "exchange":
      return state.busy ? [state, []] : [{ ...state, busy: true }, [{ run: "exchange", exchange: event.exchange }]];
    case "decided": {
      const { past, undone, books } = event;
      const what = `${past.labels} ${deed(past.verdict, past.rule)}`;
      const status = undone ? `Taken back: ${what}.` : `${what}.`;
      return [{ ...state, ...books, busy: false, status }, []];
    }
    case "say":
      return [{ ...state, busy: false, status: event.text }, []];
    case "failed":
      return [{ ...state, busy: false, playing: false, status: event.text }, []];
    case "key":
      return pressed(state, event.key, input);
  }
}

function pressed(state: State, key: string, input: Input): [State, Effect[]] {
  const { frame, busy, playing, strip } = state;
  const action = frame && !busy ? act(key, frame, state.joint) : null;
  if (!frame || !action) return [state, []];
  if ("play" in action) {
    if (!input.video) return [state, []];
    if (playing) return [{ ...state, playing: false, status: whereabouts(state, input) }, [{ run: "stop" }]];
    return [{ ...state, playing: true }, [{ run: "play", frame: frame.frame }]];
  }
  if ("mark" in action) {
    return [input.video ? { ...state, stretch: marked(state.stretch, action.mark, frame.frame) } : state, []];
  }
  if ("undo" in action) {
    const newest = state.history.find((one) => !one.undone_at); // as it is seen here: somebody else's is not taken back unseen
    return [{ ...state, busy: true }, [{ run: "undo", ...(newest && { review: newest.id }) }]];
  }
  if ("decide" in action) return step(state, { kind: "decide", decision: action.decide }, input);
  if ("choose" in action) {
    return [{ ...state, joint: (state.joint + action.choose + input.joints.length) % input.joints.length }, []];
  }
  if (action.go === "waiting") {
    const open = nextWaiting(strip, frame.frame) ?? nextWaiting(strip, -1);
    if (open === null) return [{ ...state, status: "Everything is decided." }, []];
    return step(state, { kind: "go", frame: open }, input);
  }
  const other = Math.min(frame.frames - 1, frame.frame + (action.go === "next" ? 1 : -1));
  return step(state, { kind: "go", frame: other }, input);
}
