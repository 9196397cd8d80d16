// Plays the piece on the stage; attention maps follow the playhead.

import { countUpTo } from "./dom.js";

const BEHIND = 32; // notes whose maps are fetched together

export class Playback {
  constructor(stage) {
    this.stage = stage;
    this.followed = null; // the step whose map is shown during playback
  }

  playOrPause() {
    if (this.stage.player.playing) this.stage.player.stop();
    else {
      const { piece, player } = this.stage;
      this.play(player.position >= this.end(piece) - 0.05 ? (piece.run ? piece.splitPoint : 0) : player.position);
    }
  }

  /** The audible end of a piece; Infinity during generation. */
  end({ candidate, splitPoint, view }) {
    if (!candidate) return splitPoint;
    return candidate.done ? candidate.end + view.ring : Infinity;
  }

  play(from) {
    const { piece } = this.stage;
    const { candidate } = piece;
    if (!piece.soundRate || (!candidate && !piece.base.of)) return;
    this.stage.player.wake(piece.soundRate);
    const of = candidate ? candidate.reference : piece.base.of;
    this.stage.player.play({
      of,
      from,
      end: () => this.end(piece),
      ready: () => (candidate ? candidate.ready : Infinity),
      overlapping: piece.view.byNote,
    });
  }

  /** Called once per frame during playback: update the maps. */
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
    candidate.fetchRows(this.stepsFrom(candidate, step)).catch((problem) => this.stage.showProblem(problem)).finally(() => (this.fetching = false));
  }

  /** The generated step that is audible: the first of a note, or a frame. */
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
