// The stage's canvases, drawn: the music and its map, the bands, the lane, the playhead.

import { drawBands, drawLane } from "./bands.js";
import { clock, fitted } from "./dom.js";
import { colours } from "./palette.js";
import { Roll } from "./roll.js";
import { Spectrum } from "./spectrum.js";

export class Picture {
  constructor(stage) {
    this.stage = stage;
    this.roll = new Roll(stage.configuration.drums);
    this.spectrum = new Spectrum();
  }

  /** Draw everything. */
  draw() {
    const { stage } = this;
    const { piece } = stage;
    if (!piece) return;
    const { candidate } = piece;
    const shown = stage.player.playing ? (stage.playback.followed ?? stage.step) : stage.step;
    const weights = shown === null || shown === undefined ? null : candidate?.rows?.get(shown);
    const map = weights && candidate.done ? { candidate, weights } : null;
    if (!piece.view.words) {
      this.drawMusic(stage.canvas, stage.axis, piece, candidate, map, shown, false);
      if (candidate) drawBands(fitted(stage.bands), stage.axis, candidate, stage.head, map ? shown : null);
      if (map && !stage.lane.hidden) drawLane(fitted(stage.lane), stage.axis, candidate, weights, shown);
      this.drawTicks();
      this.drawPlayhead();
    }
    stage.strip.draw();
    if (candidate && (candidate.newNotes.length || candidate.newSheets.length || candidate.newText)) {
      if (!piece.seen) performance.mark("muse:first-note");
      piece.seen = true;
    }
  }

  drawMusic(canvas, axis, piece, candidate, map, step, small) {
    const surface = fitted(canvas);
    const splitPoint = piece.base.length || candidate ? piece.splitPoint : null;
    const split = this.stage.split.checked;
    if (piece.view.spectrum) {
      const sheets = candidate ? candidate.sheets : piece.base.sheets;
      const chosen = map ? candidate.edge(step) : null;
      this.spectrum.draw(surface, axis, { sheets, splitPoint, map, chosen, split, small });
    } else {
      const notes = candidate ? candidate.notes : piece.base.notes;
      const isNew = candidate ? (note) => candidate.isNew(note) : () => false;
      const chosen = map ? notes.find((note) => candidate.isNew(note) && this.spanFirst(candidate, step) === note.first) : null;
      this.roll.draw(surface, axis, { notes, isNew, bars: piece.base.bars, splitPoint, beyond: candidate ? Infinity : piece.splitPoint - 1e-4, map, chosen, split, small });
    }
    if (!small) this.drawRest(surface, axis, piece, candidate);
  }

  /** The first position of the note that a step belongs to. */
  spanFirst(candidate, step) {
    const position = candidate.promptSteps + step;
    for (let p = position; p > position - 4; p--) {
      const span = candidate.spanAt.get(p);
      if (span !== undefined) return candidate.spans[2 * span + 1] > position ? p : -1;
    }
    return -1;
  }

  /** Shade the part that has not been generated yet. */
  drawRest({ context, width, height }, axis, piece, candidate) {
    if (!candidate || candidate.done) return;
    const x = axis.x(candidate.now, width);
    context.fillStyle = colours().faint;
    context.globalAlpha = 0.6;
    context.fillRect(x, 0, Math.max(0, axis.x(piece.end, width) - x), height);
    context.globalAlpha = 1;
  }

  drawTicks() {
    const { context, width } = fitted(this.stage.ticks);
    const { ticks, digits } = this.stage.axis.ticks(Math.max(4, width / 70));
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = colours().muted;
    for (const tick of ticks) context.fillText(clock(tick, digits), this.stage.axis.x(tick, width) + 2, 12);
  }

  drawPlayhead() {
    const { player, axis, piece } = this.stage;
    const now = player.playing ? player.now() : player.position;
    this.stage.time.textContent = `${clock(Math.min(now, piece.end))} / ${clock(piece.end)}${player.waiting ? ", waiting for more" : ""}`;
    for (const canvas of [this.stage.canvas, this.stage.bands]) {
      if (canvas.hidden) continue;
      const context = canvas.getContext("2d");
      const x = axis.x(now, canvas.clientWidth);
      context.fillStyle = colours().ink;
      context.globalAlpha = 0.8;
      context.fillRect(x - 0.75, 0, 1.5, canvas.clientHeight);
      context.globalAlpha = 1;
      if (canvas !== this.stage.canvas) continue;
      context.beginPath();
      context.moveTo(x - 6, 0);
      context.lineTo(x + 6, 0);
      context.lineTo(x, 9);
      context.fill();
    }
  }
}
