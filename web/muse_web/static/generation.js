// Requests, receives and stops continuations.

import { Piece } from "./piece.js";
import { call, generate, leaveQueue } from "./api.js";

const RETRY_PERIOD = 250; // milliseconds after which a stop is sent again

export class Generation {
  constructor(stage) {
    this.stage = stage;
    this.busy = false;
    this.lastSeed = null;
  }

  /** Continue the piece on the stage with the values of the controls. */
  async go(payload) {
    const { piece } = this.stage;
    if (this.busy) {
      this.stage.say(`${this.piece.base.name} is still being generated; press Stop to end it.`);
      return;
    }
    const { base } = piece;
    const length = base.of?.source && piece.splitPoint < base.length ? { length: piece.splitPoint } : {};
    await this.write(new Piece(base), { ...payload, ...base.of, ...length });
  }

  /** Generate a branch with another id at a step. */
  async branch(step, stream, id) {
    const { piece } = this.stage;
    if (!this.busy) await this.write(new Piece(piece.base), { ...piece.candidate.reference, step, stream, id });
  }

  async write(piece, payload) {
    const { stage } = this;
    Object.assign(this, { piece, busy: true, stopping: false });
    stage.clearProblem();
    performance.mark("muse:go");
    stage.say("Requested.");
    stage.arrangeButtons();
    // On a small screen the stage lies below the controls.
    if (stage.title.getBoundingClientRect().top > window.innerHeight - 120) stage.title.scrollIntoView({ behavior: "smooth" });
    let problem = null;
    try {
      await generate(payload, (part) => this.receive(part), (...place) => this.wait(...place));
    } catch (found) {
      problem = found;
    }
    this.busy = false;
    if (problem) {
      stage.showProblem(problem);
      stage.say("Generation has ended.");
    } else if (!piece.run) stage.say("Stopped before it started.");
    if (piece.run && !piece.candidate.done) this.discard(piece, problem);
    if (stage.piece === piece) stage.arrange();
    stage.arrangeButtons();
  }

  /** Remove a continuation that failed or was stopped at once. */
  discard(piece, problem) {
    const { stage } = this;
    stage.player.stop();
    if (stage.piece === piece) stage.back();
    if (!problem) stage.say("Stopped before anything was generated.");
  }

  wait(place, of, seconds) {
    this.stage.say(`Waiting: position ${place}${of > 1 ? ` of ${of}` : ""}${seconds ? `, about ${Math.ceil(seconds)} s` : ""}.`);
  }

  receive(part) {
    const { stage, piece } = this;
    piece.receive(part);
    if (part.type === "started") {
      this.lastSeed = part.seed;
      this.heard = false;
      stage.put(piece);
      stage.say("Reading the prompt.");
    } else if (part.type === "progress") this.progress(part);
    else if (part.type === "done") this.finished(part);
  }

  progress(part) {
    const { stage, piece } = this;
    if (stage.piece !== piece) return;
    const left = part.seconds_left === null ? "" : `, ${part.seconds_left < 1 ? "under 1" : Math.ceil(part.seconds_left)} s left`;
    stage.say(`Generating: ${part.steps} ${part.steps === 1 ? "step" : "steps"}, ${part.rate.toFixed(0)} per second${left}.`);
    if (piece.view.words) stage.words.add(piece.candidate);
    else if (!this.heard && stage.hearToggle.checked) {
      this.heard = true;
      stage.playback.play(piece.splitPoint);
    }
    if (piece.end > stage.axis.end) stage.axis.end = piece.end;
    stage.dirty();
  }

  finished(part) {
    const { stage, piece } = this;
    piece.stopped = part.stopped;
    if (stage.piece !== piece) return;
    stage.sayDone();
    stage.arrange();
    stage.axis.show(stage.axis.left, stage.axis.right, piece.end);
  }

  /** Repeat the stop request until generation ends: it may not have started yet. */
  async stop() {
    const { piece } = this;
    if (this.stopping) return;
    this.stopping = true;
    while (this.busy && this.piece === piece) {
      try {
        if (!(await leaveQueue())) await call("stop", {});
      } catch (problem) {
        this.stage.showProblem(problem);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_PERIOD));
    }
    if (this.piece === piece) this.stopping = false;
  }
}
