// The annotator's page as a pure function: step(state, event) -> [state, effects]. Nothing here touches the browser.
import type { Closer, Question } from "../api";

export interface State {
  now: Question | null; // on the screen
  ahead: Question[]; // held and preloaded
  answerable: boolean; // the viewing time is over
  rings: boolean;
  toggles: number;
  toGo: number | null;
  sending: string[]; // questions whose answers are on their way
  shownAt: number;
  finished: boolean; // the sitting is over
  stopped: string; // why there is no question: shown to the annotator
  undoing: boolean;
  loads: number; // how often somebody asked for a broken picture again
  broken: boolean; // the picture on the screen could not be loaded, however often it was tried
}
export type Event =
  | { kind: "got"; question: Question; at: number }
  | { kind: "picture"; at: number } // the picture on the screen has loaded
  | { kind: "delay-over" }
  | { kind: "broken" }
  | { kind: "retry" } // load the picture once more
  | { kind: "skipped"; id: string; at: number } // the server took the question back
  | { kind: "answer"; closer: Closer; by: string; at: number }
  | { kind: "sent"; id: string; toGo: number; finished: boolean }
  | { kind: "lost"; id: string } // the server took the question back
  | { kind: "toggle" }
  | { kind: "undo" }
  | { kind: "undone"; question: Question; at: number }
  | { kind: "undo-failed" }
  | { kind: "none"; why: string } // no further question can be had now
  | { kind: "again" };
export type Effect =
  | { do: "fetch"; have: string[] }
  | { do: "preload"; url: string }
  | { do: "wait"; ms: number }
  | { do: "send"; question: Question; closer: Closer; by: string; responseMs: number; toggles: number }
  | { do: "undo" };

const MOST_HELD = 3; // the server's limit

export const start: State = {
  now: null,
  ahead: [],
  answerable: false,
  rings: true,
  toggles: 0,
  toGo: null,
  sending: [],
  shownAt: 0,
  finished: false,
  stopped: "",
  undoing: false,
  loads: 0,
  broken: false,
};

/** What the server holds for us: also the questions whose answers it has not seen yet, or it would hand them out again. */
const have = (s: State): string[] => [...s.sending, ...(s.now ? [s.now.id] : []), ...s.ahead.map((q) => q.id)];

function show(s: State, question: Question | null, at: number): State {
  return { ...s, now: question, answerable: false, rings: true, toggles: 0, shownAt: at, broken: false };
}

/** One more question ahead, unless the sitting has no more. */
function more(s: State): Effect[] {
  const enough = have(s).length >= Math.min(MOST_HELD, s.toGo ?? MOST_HELD);
  return s.ahead.length < 1 && !enough && !s.stopped ? [{ do: "fetch", have: have(s) }] : [];
}

export function step(s: State, e: Event): [State, Effect[]] {
  switch (e.kind) {
    case "got": {
      if (have(s).includes(e.question.id)) return [s, []];
      const counted = { ...s, stopped: "", finished: false, toGo: Math.min(s.toGo ?? Infinity, e.question.to_go) };
      if (!s.now) {
        const next = show(counted, e.question, e.at);
        return [next, more(next)];
      }
      return [{ ...counted, ahead: [...s.ahead, e.question] }, [{ do: "preload", url: e.question.picture }]];
    }
    case "picture":
      return s.now ? [{ ...s, shownAt: e.at, broken: false }, [{ do: "wait", ms: s.now.delay_ms }]] : [s, []];
    case "delay-over":
      return [{ ...s, answerable: s.now !== null }, []];
    case "answer": {
      if (!s.now || !s.answerable || s.undoing) return [s, []];
      const sent: Effect = {
        do: "send",
        question: s.now,
        closer: e.closer,
        by: e.by,
        responseMs: Math.round(e.at - s.shownAt),
        toggles: s.toggles,
      };
      const [following, ...rest] = s.ahead;
      const next = { ...show(s, following ?? null, e.at), ahead: rest, sending: [...s.sending, s.now.id] };
      return [next, [sent, ...more(next)]];
    }
    case "sent": {
      const next = { ...s, sending: s.sending.filter((id) => id !== e.id), toGo: e.toGo, finished: e.finished };
      return [next, e.finished ? [] : more(next)];
    }
    case "lost": {
      const next = { ...s, sending: s.sending.filter((id) => id !== e.id) };
      return [next, more(next)];
    }
    case "broken":
      return [s.now ? { ...s, broken: true } : s, []];
    case "retry":
      return [{ ...s, broken: false, loads: s.loads + 1 }, []];
    case "skipped": {
      if (s.now?.id !== e.id) return [s, []];
      const [following, ...rest] = s.ahead;
      const next = { ...show(s, following ?? null, e.at), ahead: rest };
      return [next, more(next)];
    }
    case "toggle":
      return s.now ? [{ ...s, rings: !s.rings, toggles: s.toggles + 1 }, []] : [s, []];
    case "undo":
      return s.undoing || s.sending.length > 0 ? [s, []] : [{ ...s, undoing: true }, [{ do: "undo" }]];
    case "undone": {
      const kept = [...(s.now ? [s.now] : []), ...s.ahead].filter((q) => q.id !== e.question.id);
      return [
        {
          ...show(s, e.question, e.at),
          ahead: kept,
          undoing: false,
          finished: false,
          stopped: "",
          toGo: e.question.to_go,
        },
        [],
      ];
    }
    case "undo-failed":
      return [{ ...s, undoing: false }, []];
    case "none":
      return [{ ...s, stopped: s.now ? s.stopped : e.why }, []];
    case "again": {
      const next = { ...start, rings: true };
      return [next, more(next)];
    }
  }
}
