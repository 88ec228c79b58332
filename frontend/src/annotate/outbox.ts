// Sends answers in order, again and again with the same key until the server has said yes or no. Kept in the browser's
// storage, so that a reload or a crash loses nothing; the key makes a second arrival harmless. A box belongs to one person
// in one campaign: nobody else who signs in with this browser sends what is in it.
import { call, Problem, type Vote, type VoteDone } from "../api";

export interface QueuedVote {
  id: string;
  vote: Vote;
  at: number;
}
export interface OutboxEvents {
  sent(queued: QueuedVote, done: VoteDone): void;
  refused(queued: QueuedVote, problem: Problem): void;
  waiting(count: number, problem: Problem | null): void;
  signedOut(count: number): void;
}

export class Outbox {
  private readonly votes: QueuedVote[];
  private busy = false;
  /** False where the browser keeps nothing (private window, storage full): then a reload would lose what waits. */
  keeps = true;
  constructor(
    private readonly url: string,
    private readonly name: string,
    private readonly events: OutboxEvents,
  ) {
    this.votes = this.kept();
  }
  get size(): number {
    return this.votes.length;
  }
  put(queued: QueuedVote): void {
    this.votes.push(queued);
    // One entry a queued: two tabs of one person never write over each other's.
    try {
      localStorage.setItem(this.key(queued), JSON.stringify(queued));
    } catch {
      this.keeps = false;
    }
    void this.flush();
  }
  async flush(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    try {
      for (let queued = this.votes[0]; queued; queued = this.votes[0]) {
        try {
          const done = await call<VoteDone>(this.url, queued.vote);
          this.drop(queued);
          this.events.sent(queued, done);
        } catch (error) {
          if (!(error instanceof Problem)) throw error;
          if (error.signedOut) return this.events.signedOut(this.votes.length);
          if (error.passing) {
            if (error.code !== "too_early") this.events.waiting(this.votes.length, error);
            await new Promise((r) => setTimeout(r, Math.min(error.retryAfterMs, 10_000)));
          } else {
            this.drop(queued);
            this.events.refused(queued, error);
          }
        }
      }
      this.events.waiting(0, null);
    } finally {
      this.busy = false;
    }
  }
  private key(queued: QueuedVote): string {
    return `${this.name} ${queued.vote.key}`;
  }
  private drop(queued: QueuedVote): void {
    this.votes.shift();
    try {
      localStorage.removeItem(this.key(queued));
    } catch {
      this.keeps = false;
    }
  }
  private kept(): QueuedVote[] {
    const queue: QueuedVote[] = [];
    try {
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(`${this.name} `)) continue;
        try {
          queue.push(JSON.parse(localStorage.getItem(key) ?? "") as QueuedVote);
        } catch {
          localStorage.removeItem(key);
        }
      }
    } catch {
      this.keeps = false;
    }
    return queue.sort((a, b) => a.at - b.at);
  }
}
