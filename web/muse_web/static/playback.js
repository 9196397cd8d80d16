// Playing what is on the stage; while it plays the maps follow the playhead.

import { countUpTo } from "./dom.js";

const BEHIND = 32; // notes whose maps are fetched together

export class Playback {
  constructor(stage) {
    this.stage = stage;
    this.followed = null; // the step whose map is shown while it plays
  }

  playOrPause() {
    if (this.stage.player.playing) this.stage.player.stop();
    else {
      const { piece, player } = this.stage;
      this.play(player.position >= this.end(piece) - 0.05 ? (piece.run ? piece.splitPoint : 0) : player.position);
    }
  }

  /** Where a piece ends to the ear; Infinity while it is being generated. */
  end({ candidate, splitPoint, view }) {
    if (!candidate) return splitPoint;
    return candidate.done ? candidate.end + view.ring : Infinity;
  }

  play(from) {
    const { piece } = this.stage;
    const { candidate } = piece;
    if (!piece.soundRate || (!candidate && !piece.base.of)) return;
    this.stage.player.wake(piece.soundRate);
    const of = candidate ? candidate.asked : piece.base.of;
    this.stage.player.play({
      of,
      from,
      end: () => this.end(piece),
      ready: () => (candidate ? candidate.ready : Infinity),
      overlapping: piece.view.byNote,
    });
  }

  /** Once a frame while it plays: the maps follow the playhead. */
  playing() {
    const now = this.stage.player.now();
    if (this.stage.player.firstHeard && this.stage.player.firstHeard !== this.heard) {
      this.heard = this.stage.player.firstHeard;
      performance.mark("muse:first-sound");
    }
    this.stage.axis.follow(now);
    const { candidate } = this.stage.piece;
    if (candidate?.done) this.followMap(candidate, now);
    this.stage.dirty();
  }

  followMap(candidate, now) {
    const step = this.stepHeard(candidate, now);
    if (step === null) {
      this.followed = null;
      return;
    }
    if (candidate.rows.has(step)) this.followed = step;
    if (this.fetching || candidate.rows.has(this.stepHeard(candidate, now + 1) ?? step)) return;
    this.fetching = true;
    candidate.fetchRows(this.stepsFrom(candidate, step)).catch((problem) => this.stage.tell(problem)).finally(() => (this.fetching = false));
  }

  /** The new step that is heard: a note's first, or a frame. */
  stepHeard(candidate, now) {
    if (!this.stage.piece.view.byNote) return candidate.stepAt(now);
    const heads = this.noteHeads(candidate);
    const count = countUpTo(heads.starts, now);
    return count ? heads.steps[count - 1] : null;
  }

  noteHeads(candidate) {
    if (!candidate.heads) {
      const notes = candidate.notes.filter((note) => candidate.isNew(note)).sort((a, b) => a.start - b.start || a.first - b.first);
      candidate.heads = { starts: notes.map(({ start }) => start), steps: notes.map((note) => candidate.stepOf(note)) };
    }
    return candidate.heads;
  }

  stepsFrom(candidate, step) {
    if (!this.stage.piece.view.byNote) return Array.from({ length: Math.min(64, candidate.steps - step) }, (_, i) => step + i);
    const { steps } = this.noteHeads(candidate);
    const at = steps.indexOf(step);
    return steps.slice(at, at + BEHIND);
  }
}
