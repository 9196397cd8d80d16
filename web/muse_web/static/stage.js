// The stage: one piece, its continuations and their attention, on one time axis with a playhead.

import { Axis } from "./axis.js";
import { BAND } from "./bands.js";
import { clock, countUpTo, el, show } from "./dom.js";
import { Playback } from "./playback.js";
import { legend } from "./legend.js";
import { Matrix } from "./matrix.js";
import { onThemeChange, usePalette } from "./palette.js";
import { Picture } from "./picture.js";
import { Base, Piece } from "./piece.js";
import { Player } from "./player.js";
import { Pointer } from "./pointer.js";
import { Strip } from "./strip.js";
import { Inspector } from "./inspector.js";
import { Words } from "./words.js";
import { Problem, address, call } from "./api.js";
import { Generation } from "./generation.js";

const SPOKEN = 5000; // milliseconds between two status lines for screen readers during generation
const NAMES = { mid: "MIDI", tracks: "MIDI per instrument (zip)", wav: "WAV", flac: "FLAC", txt: "Text", trace: "Trace (npz)", json: "Sidecar (json)", svg: "Picture (svg)", png: "Picture (png)" };

/** The name of a kind of file; that of a domain from elsewhere is its suffix. */
const nameOf = (kind) => NAMES[kind] ?? kind;

export class Stage {
  constructor(root, configuration) {
    this.configuration = configuration;
    this.places = {}; // by domain: the current piece and the history
    this.piece = null;
    this.head = -1;
    this.axis = new Axis(() => this.dirty());
    this.player = new Player(() => this.playerChanged());
    this.picture = new Picture(this);
    this.playback = new Playback(this);
    this.strip = new Strip(this);
    this.generation = new Generation(this);
    this.words = new Words({ choose: (step) => this.choose(step), cut: (characters) => this.cutWordsAt(characters) });
    const showProblem = (problem) => this.showProblem(problem);
    this.inspector = new Inspector({ choose: (step) => this.choose(step), branch: (...where) => this.generation.branch(...where), showProblem, download: (kind, step) => this.download(kind, step) });
    this.matrix = new Matrix({ choose: (step) => this.choose(step), showProblem });
    this.build(root);
    onThemeChange(() => {
      this.dirty();
      this.matrix.draw();
    });
    new ResizeObserver(() => this.dirty()).observe(root);
    const frame = () => {
      if (this.player.playing) this.playback.playing();
      if (this.stale) {
        this.stale = false;
        this.picture.draw();
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  build(root) {
    const button = (words, act, title = "") => el("button", { onclick: act, title }, words);
    this.title = el("h2", {}, "");
    this.status = el("p", { className: "status" });
    this.spoken = el("p", { className: "spoken", role: "status" });
    this.legend = el("div");
    this.problem = el("p", { className: "problem", role: "alert", hidden: true });
    this.playButton = button("Play", () => this.playback.playOrPause(), "Space");
    this.time = el("span", { className: "time" });
    this.backButton = button("Back", () => this.back(), "Show what was here before");
    this.onButton = button("Continue from this", () => this.goOn(), "Make this the prompt of the next continuation");
    this.hearToggle = el("input", { type: "checkbox", checked: true });
    this.canvas = el("canvas", { className: "muse-roll", tabIndex: 0, role: "application" });
    this.canvas.setAttribute("aria-label", "Piano roll or spectrogram. Left and right arrow keys select notes or frames, space plays.");
    this.cutRange = el("input", { type: "range", min: 0, max: 1000, value: 1000, oninput: () => this.moveCut(Number(this.cutRange.value) / 1000 * this.piece.base.length) });
    this.cutWords = el("output", {});
    this.cutRow = el("label", { className: "row cut-row" }, "Continue the first", this.cutRange, this.cutWords);
    this.bands = el("canvas", { className: "muse-bands" });
    this.bands.title = "The share of each new token's attention at each depth; click to select a token";
    this.lane = el("canvas", { className: "muse-lane" });
    this.ticks = el("canvas", { className: "muse-ticks" });
    this.headPick = el("select", { onchange: () => this.pickHead() });
    this.headPick.setAttribute("aria-label", "Attention head of the depth shares");
    this.split = el("input", { type: "checkbox", onchange: () => this.relight() });
    this.viewRow = el(
      "div",
      { className: "row view-row" },
      button("Zoom in", () => this.axis.zoom(0.6)), button("Zoom out", () => this.axis.zoom(1.7)), button("Show all", () => this.axis.show(0, this.piece.end)),
      el("label", {}, "Depth shares of ", this.headPick),
      el("label", {}, this.split, " split by depth"),
    );
    this.downloadRow = el("div", { className: "row download-row" });
    this.graph = el("div", { className: "muse-graph" }, this.canvas, this.words.element, this.bands, this.lane, this.ticks);
    root.replaceChildren(
      el(
        "section",
        { className: "muse-stage" },
        el("div", { className: "row bar-row" }, this.title, this.playButton, this.time, el("label", {}, this.hearToggle, " play while generating"), el("span", { className: "space" }), this.backButton, this.onButton),
        this.status, this.spoken, this.problem, this.strip.element,
        el("div", { className: "muse-body" }, el("div", { className: "muse-left" }, this.graph, this.legend, this.cutRow, this.viewRow, this.downloadRow), this.inspector.element),
        this.matrix.element,
      ),
    );
    new Pointer(this);
  }

  // Contents

  /** Show an opened prompt. */
  open(base) {
    this.put(new Piece(base));
    this.moveCut(base.length > base.view.longest ? base.view.usual : base.length);
    this.say(base.of ? `${base.name}: ${this.lengthOf(base.length)}. Choose how much of it to continue.` : "No prompt: the piece will start from nothing.");
  }

  /** Earlier pieces of this domain, the newest last. */
  get history() {
    return (this.places[this.piece.domain] ??= { history: [] }).history;
  }

  put(piece) {
    this.player.stop();
    // An empty stage is not part of the history.
    if (this.piece?.domain === piece.domain && (this.piece.run || this.piece.base.of)) this.history.push(this.piece);
    this.present(piece);
    this.history.splice(0, this.history.length - 20);
  }

  /** Show the last piece of a domain; returns false if there is none. */
  recall(domain) {
    const { piece } = this.places[domain] ?? {};
    if (!piece) return false;
    this.player.stop();
    this.present(piece);
    if (piece.candidate?.done) this.sayDone();
    else this.say(`${piece.base.name}.`);
    return true;
  }

  present(piece) {
    this.piece = piece;
    (this.places[piece.domain] ??= { history: [] }).piece = piece;
    this.words.tokens = [];
    this.words.sources = [];
    this.player.position = piece.run ? piece.splitPoint : 0;
    this.step = this.aim = null;
    this.inspector.invite(piece.run ? "Click a generated note, frame or word to see what it attended to." : "Press Continue; then click a generated note, frame or word to see what it attended to.");
    if (piece.colours) usePalette(piece.colours);
    this.arrange();
    this.axis.show(piece.run ? Math.max(0, piece.splitPoint - 0.5 * (piece.end - piece.splitPoint)) : 0, piece.end, piece.end);
    if (piece.step !== null && piece.candidate?.done) this.choose(piece.step);
  }

  back() {
    const before = this.history.pop();
    if (!before) return;
    this.player.stop();
    this.present(before);
    if (before.candidate?.done) this.sayDone();
    else this.say(`Back to ${before.base.name}.`);
  }

  sayDone() {
    const { piece } = this;
    const { candidate } = piece;
    const length = this.lengthOf(candidate.end - piece.splitPoint);
    this.say(`${piece.stopped ? "Stopped" : "Done"}: ${length} in ${candidate.steps} ${candidate.steps === 1 ? "step" : "steps"}, seed ${piece.seed}. Continue generates another version; Continue from this extends this one.`);
  }

  goOn() {
    const { piece } = this;
    this.put(new Piece(Base.ofCandidate(piece)));
    this.say("This is the prompt now; Continue extends it.");
  }

  /** Update which elements are visible and enabled. */
  arrange() {
    const { piece } = this;
    const { candidate } = piece;
    const text = piece.view.words;
    this.title.textContent = piece.base.name;
    show(this.canvas, !text);
    show(this.words.element, text);
    show(this.ticks, !text);
    show(this.bands, !text && candidate !== null);
    show(this.lane, !text && Boolean(candidate?.done) && this.step !== null);
    show(this.playButton, !text);
    show(this.time, !text);
    show(this.hearToggle.parentElement, !text);
    show(this.cutRow, !piece.run && piece.base.length > 0 && Boolean(piece.base.of?.source));
    show(this.viewRow, !text || candidate !== null);
    for (const one of this.viewRow.querySelectorAll("button")) show(one, !text);
    for (const one of this.viewRow.querySelectorAll("label")) show(one, candidate !== null);
    this.arrangeButtons();
    this.onButton.disabled = !candidate?.done || !candidate.steps;
    show(this.legend, candidate !== null);
    this.legend.replaceChildren(legend(piece.depths));
    if (candidate) this.bands.style.height = `${piece.depths.length * BAND}px`;
    this.headPick.replaceChildren(el("option", { value: -1 }, "all heads"), ...Array.from({ length: piece.heads ?? 0 }, (_, i) => el("option", { value: i }, `head ${i + 1}`)));
    this.headPick.value = this.head < (piece.heads ?? 0) ? this.head : -1;
    this.strip.arrange();
    this.downloadRow.replaceChildren();
    if (candidate?.done) {
      this.downloadRow.append(el("span", { className: "quiet" }, "Download:"));
      for (const kind of this.configuration.domains[piece.domain].kinds) this.downloadRow.append(el("button", { onclick: () => this.download(kind, kind === "svg" || kind === "png" ? this.step : null) }, nameOf(kind)));
    }
    if (text) this.arrangeWords();
    this.matrix.of(candidate, this.step);
    this.dirty();
  }

  arrangeButtons() {
    const { busy } = this.generation;
    this.backButton.disabled = busy || !this.history.length;
    for (const [id, disabled] of [["muse-go", busy], ["muse-stop", !busy]]) document.getElementById(id).disabled = disabled;
  }

  arrangeWords() {
    const { candidate } = this.piece;
    if (!candidate) this.words.showPrompt(this.piece);
    else if (candidate.done) this.words.finish(candidate, this.head);
    else {
      this.words.begin(this.piece);
      this.words.add(candidate);
    }
  }

  // Split point

  get canMoveCut() {
    return this.piece && !this.piece.run && Boolean(this.piece.base.of?.source);
  }

  moveCut(place) {
    const { piece } = this;
    const { bars, length } = piece.base;
    // An empty prompt is not allowed here; "from nothing" does that.
    let splitPoint = Math.min(Math.max(place, piece.view.least), length);
    if (bars.length && splitPoint < length - 0.05) {
      // Music is split at bar lines.
      const i = Math.max(1, countUpTo(bars, splitPoint + 1e-3) - 1);
      splitPoint = bars[Math.min(i, bars.length - 1)] || length;
    }
    piece.splitPoint = splitPoint;
    this.cutRange.value = Math.round((1000 * splitPoint) / (length || 1));
    this.cutWords.textContent = this.lengthOf(splitPoint);
    if (piece.view.words) this.words.showPrompt(piece);
    this.dirty();
  }

  /** Set the split point of a text to the place that was clicked. */
  cutWordsAt(characters) {
    if (!this.canMoveCut) return;
    const { text, hidden } = this.piece.base;
    this.moveCut(hidden + new TextEncoder().encode(text.slice(0, characters)).length);
  }

  lengthOf(length) {
    return this.piece.view.length(length);
  }

  // Playback

  playerChanged() {
    this.playButton.textContent = this.player.playing ? "Pause" : "Play";
    // From now on the map follows playback.
    this.inspector.element.classList.toggle("other", this.player.playing);
    this.playback.followed = null;
    this.dirty();
  }

  // Inspection

  unchoose() {
    this.step = this.aim = this.piece.step = null;
    this.relight();
    this.arrange();
  }

  async choose(step) {
    const { candidate } = this.piece;
    if (!candidate?.done || step < 0 || step >= candidate.steps) return;
    this.aim = step;
    try {
      const found = await candidate.inspect(step);
      // Another step may have been selected meanwhile.
      if (this.piece.candidate !== candidate || this.aim !== step) return;
      this.step = this.piece.step = step;
      this.inspector.show(candidate, found);
      show(this.lane, !this.piece.view.words);
      const place = candidate.edge(step);
      if (!this.piece.view.words && (place < this.axis.left || place > this.axis.right)) this.axis.follow(place);
      this.relight();
      this.matrix.of(candidate, step);
      this.picture.draw();
      performance.mark("muse:map");
    } catch (problem) {
      this.showProblem(problem);
    }
  }

  pickHead() {
    this.head = Number(this.headPick.value);
    const { candidate } = this.piece;
    if (candidate && this.piece.view.words) this.words.bands(candidate, this.head);
    this.dirty();
  }

  relight() {
    const { candidate, view } = this.piece;
    if (view.words) this.words.light(candidate, this.step, this.step === null ? null : candidate?.rows.get(this.step), this.split.checked);
    this.dirty();
  }

  // Drawing

  dirty() {
    this.stale = true;
  }

  // Download

  async download(kind, step) {
    const { candidate } = this.piece;
    if (!candidate?.done) return;
    this.say(`Preparing ${nameOf(kind)}.`);
    try {
      const { path, name } = await call("export", { ...candidate.reference, kind, step });
      this.say(`Downloading ${name}.`);
      const link = el("a", { href: address(path), download: name });
      document.body.append(link);
      link.click();
      link.remove();
    } catch (problem) {
      this.showProblem(problem);
    }
  }

  // Messages

  say(words) {
    this.status.textContent = words;
    // Screen readers should not announce every step.
    const now = performance.now();
    if (words.startsWith("Generating") && now - this.saidAt < SPOKEN) return;
    this.saidAt = now;
    this.spoken.textContent = words;
  }

  showProblem(problem) {
    if (!(problem instanceof Problem)) console.error(problem);
    this.problem.textContent = problem instanceof Problem ? problem.message : "something went wrong on this page";
    show(this.problem, true);
  }

  clearProblem() {
    show(this.problem, false);
  }
}

