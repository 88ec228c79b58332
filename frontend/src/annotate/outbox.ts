// Sends answers in order, again and again with the same key until the server has said yes or no. Kept in the browser's
// storage, so that a reload or a crash loses nothing; the key makes a second arrival harmless.
import { call, Problem, type Vote, type VoteDone } from "../api";

export interface Letter { id: string; vote: Vote }
export interface Told {
  sent(letter: Letter, done: VoteDone): void;
  refused(letter: Letter, problem: Problem): void;
  waiting(count: number, problem: Problem | null): void;
}

export class Outbox {
  private letters: Letter[];
  private busy = false;
  constructor(private readonly url: string, private readonly name: string, private readonly told: Told) {
    this.letters = JSON.parse(localStorage.getItem(name) ?? "[]") as Letter[];
  }
  get size(): number { return this.letters.length; }
  put(letter: Letter): void {
    this.letters.push(letter);
    this.keep();
    void this.flush();
  }
  async flush(): Promise<void> {
    if (this.busy) return;
    this.busy = true;
    for (let letter = this.letters[0]; letter; letter = this.letters[0]) {
      try {
        const done = await call<VoteDone>(this.url, letter.vote);
        this.drop();
        this.told.sent(letter, done);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.passing) {
          if (error.code !== "too_early") this.told.waiting(this.letters.length, error);
          await new Promise((r) => setTimeout(r, Math.min(error.retryAfterMs, 10_000)));
        } else {
          this.drop();
          this.told.refused(letter, error);
        }
      }
    }
    this.busy = false;
    this.told.waiting(0, null);
  }
  private drop(): void { this.letters.shift(); this.keep(); }
  private keep(): void { localStorage.setItem(this.name, JSON.stringify(this.letters)); }
}
