// The candidates side by side: select one to show or to keep.

import { Axis } from "./axis.js";
import { el, show } from "./dom.js";
import { Piece } from "./piece.js";

export class Strip {
  constructor(stage) {
    this.stage = stage;
    this.element = el("div", { className: "muse-strip" });
  }

  arrange() {
    const { piece } = this.stage;
    show(this.element, piece.candidates.length > 1);
    if (piece.candidates.length < 2) return;
    this.cards = piece.candidates.map((candidate, number) => {
      const preview = piece.view.words ? el("p") : el("canvas");
      const words = el("span", {}, `${number + 1}`);
      const card = el(
        "div",
        { className: number === piece.chosen ? "card chosen" : "card" },
        el("button", { className: "pick", title: "Show this one", ariaPressed: String(number === piece.chosen), onclick: () => this.pick(number) }, words, preview),
        candidate.done ? el("button", { className: "small", onclick: () => this.keep(number) }, "Keep this one") : null,
      );
      return { card, preview, words, candidate };
    });
    this.element.replaceChildren(...this.cards.map(({ card }) => card));
  }

  pick(number) {
    const { stage } = this;
    const again = stage.player.playing;
    stage.piece.chosen = number;
    stage.step = stage.aim = stage.piece.step = null;
    stage.inspector.invite("Click a generated note, frame or word to see what it attended to.");
    stage.arrange();
    if (stage.piece.candidate.done) stage.sayDone();
    if (again) stage.playback.play(stage.player.now());
  }

  keep(number) {
    const { piece } = this.stage;
    const kept = Object.assign(new Piece(piece.base), piece);
    const candidate = piece.candidates[number];
    kept.candidates = [Object.assign(Object.create(Object.getPrototypeOf(candidate)), candidate, { piece: kept })];
    kept.chosen = 0;
    this.stage.put(kept);
    this.stage.say("Kept. Back shows the others again.");
  }

  draw() {
    const { piece } = this.stage;
    if (this.element.hidden || !this.cards) return;
    this.cards.forEach(({ preview, words, candidate }, number) => {
      const likely = candidate.done ? `, ${candidate.natsPerToken.toFixed(2)} nats per token` : `, ${candidate.steps} ${candidate.steps === 1 ? "step" : "steps"}`;
      words.textContent = `${number + 1}${likely}`;
      if (piece.view.words) preview.textContent = candidate.generatedText.slice(0, 240);
      else {
        const axis = new Axis(() => {});
        const end = Math.max(piece.splitPoint + (piece.requested ?? 0), candidate.now);
        axis.show(piece.splitPoint, end, end);
        this.stage.picture.drawMusic(preview, axis, piece, candidate, null, null, true);
      }
    });
  }
}
