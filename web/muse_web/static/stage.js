// The stage: one piece, its continuations and their attention, on one time axis with a playhead.

import { Axis } from "./axis.js";
import { BAND } from "./bands.js";
import { clock, countUpTo, el, show } from "./dom.js";
import { Hearing } from "./hearing.js";
import { Matrix } from "./matrix.js";
import { onThemeChange, usePalette } from "./palette.js";
import { Picture } from "./picture.js";
import { Base, Piece } from "./piece.js";
import { Player } from "./player.js";
import { Pointing } from "./pointing.js";
import { Strip } from "./strip.js";
import { Why } from "./why.js";
import { Words } from "./words.js";
import { Problem, address, call, grow, leaveQueue } from "./wire.js";

const NAMES = { mid: "MIDI", tracks: "MIDI, a file an instrument", wav: "WAV", flac: "FLAC", txt: "text", trace: "numbers (npz)", json: "recipe (json)", svg: "picture (svg)", png: "picture (png)" };

export class Stage {
  constructor(root, configuration) {
    this.configuration = configuration;
    this.history = [];
    this.piece = null;
    this.head = -1;
    this.lastSeed = null;
    this.axis = new Axis(() => this.dirty());
    this.player = new Player(() => this.playerChanged());
    this.picture = new Picture(this);
    this.hearing = new Hearing(this);
    this.strip = new Strip(this);
    this.words = new Words({ choose: (step) => this.choose(step), cut: (characters) => this.cutWordsAt(characters) });
    const tell = (problem) => this.tell(problem);
    this.why = new Why({ choose: (step) => this.choose(step), branch: (...where) => this.branch(...where), tell, take: (kind, step) => this.take(kind, step) });
    this.matrix = new Matrix({ choose: (step) => this.choose(step), tell });
    this.build(root);
    onThemeChange(() => {
      this.dirty();
      this.matrix.draw();
    });
    new ResizeObserver(() => this.dirty()).observe(root);
    const frame = () => {
      if (this.player.playing) this.hearing.playing();
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
    this.status = el("p", { className: "status", role: "status" });
    this.problem = el("p", { className: "problem", role: "alert", hidden: true });
    this.playButton = button("Play", () => this.hearing.playOrPause(), "Space");
    this.time = el("span", { className: "time" });
    this.backButton = button("Back", () => this.back(), "To what was here before");
    this.onButton = button("Go on from this", () => this.goOn(), "Make it the prompt of the next continuation");
    this.hearToggle = el("input", { type: "checkbox", checked: true });
    this.canvas = el("canvas", { className: "muse-roll", tabIndex: 0, role: "application" });
    this.canvas.setAttribute("aria-label", "The music in time. Left and right arrows choose notes, space plays.");
    this.cutRange = el("input", { type: "range", min: 0, max: 1000, value: 1000, oninput: () => this.moveCut(Number(this.cutRange.value) / 1000 * this.piece.base.length) });
    this.cutWords = el("output", {});
    this.cutRow = el("label", { className: "row cut-row" }, "Continue the first", this.cutRange, this.cutWords);
    this.bands = el("canvas", { className: "muse-bands" });
    this.bands.title = "How much of each new token's attention lay at each depth; click to choose a token";
    this.lane = el("canvas", { className: "muse-lane" });
    this.ticks = el("canvas", { className: "muse-ticks" });
    this.headPick = el("select", { onchange: () => this.pickHead() });
    this.headPick.setAttribute("aria-label", "Heads of the bands");
    this.split = el("input", { type: "checkbox", onchange: () => this.relight() });
    this.viewRow = el(
      "div",
      { className: "row view-row" },
      button("Closer", () => this.axis.zoom(0.6)), button("Further", () => this.axis.zoom(1.7)), button("All", () => this.axis.show(0, this.piece.end)),
      el("label", {}, "Bands of ", this.headPick),
      el("label", {}, this.split, " split the map by depth"),
    );
    this.takeRow = el("div", { className: "row take-row" });
    this.graph = el("div", { className: "muse-graph" }, this.canvas, this.words.element, this.bands, this.lane, this.ticks);
    root.replaceChildren(
      el(
        "section",
        { className: "muse-stage" },
        el("div", { className: "row bar-row" }, this.title, this.playButton, this.time, el("label", {}, this.hearToggle, " play while it is written"), el("span", { className: "space" }), this.backButton, this.onButton),
        this.status, this.problem, this.strip.element,
        el("div", { className: "muse-body" }, el("div", { className: "muse-left" }, this.graph, this.cutRow, this.viewRow, this.takeRow), this.why.element),
        this.matrix.element,
      ),
    );
    new Pointing(this);
  }

  // What is on it

  /** Show a prompt that was opened. */
  open(base) {
    this.put(new Piece(base));
    const length = { midi: 30, audio: 10, text: Infinity }[base.domain];
    this.moveCut(base.length > length ? { midi: 20, audio: 8 }[base.domain] : base.length);
    this.say(base.of ? `${base.name}: ${this.lengthOf(base.length)}. Choose how much of it to continue.` : "It will begin from nothing.");
  }

  put(piece) {
    this.player.stop();
    if (this.piece?.run) this.history.push(this.piece);
    this.history = this.history.slice(-20);
    this.present(piece);
  }

  present(piece) {
    this.piece = piece;
    this.words.tokens = [];
    this.words.sources = [];
    this.player.position = piece.run ? piece.cut : 0;
    this.step = this.aim = null;
    this.why.invite(piece.run ? "Click a note, a frame or a word to see what it was drawn from." : "Continue it; then click a note, a frame or a word to see what it was drawn from.");
    if (piece.colours) usePalette(piece.colours);
    this.arrange();
    this.axis.show(piece.run ? Math.max(0, piece.cut - 0.5 * (piece.end - piece.cut)) : 0, piece.end, piece.end);
    if (piece.step !== null && piece.candidate?.done) this.choose(piece.step);
  }

  back() {
    const before = this.history.pop();
    if (!before) return;
    this.player.stop();
    this.present(before);
    this.say("Back.");
  }

  goOn() {
    const { piece } = this;
    this.put(new Piece(Base.ofCandidate(piece)));
    this.say("This is the prompt now. Continue writes on from its end.");
  }

  /** What can be seen and pressed. */
  arrange() {
    const { piece } = this;
    const { candidate } = piece;
    const text = piece.domain === "text";
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
    this.backButton.disabled = piece.writing || !this.history.length;
    this.onButton.disabled = !candidate?.done || !candidate.steps;
    if (candidate) this.bands.style.height = `${piece.depths.length * BAND}px`;
    this.headPick.replaceChildren(el("option", { value: -1 }, "all heads"), ...Array.from({ length: piece.heads ?? 0 }, (_, i) => el("option", { value: i }, `head ${i + 1}`)));
    this.headPick.value = this.head < (piece.heads ?? 0) ? this.head : -1;
    this.strip.arrange();
    this.takeRow.replaceChildren();
    if (candidate?.done) {
      this.takeRow.append(el("span", { className: "quiet" }, "Take away:"));
      for (const kind of this.configuration.domains[piece.domain].kinds) this.takeRow.append(el("button", { onclick: () => this.take(kind, kind === "svg" || kind === "png" ? this.step : null) }, NAMES[kind]));
    }
    if (text) this.arrangeWords();
    this.matrix.of(candidate, this.step);
    this.dirty();
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

  // How much of it

  get canMoveCut() {
    return this.piece && !this.piece.run && Boolean(this.piece.base.of?.source);
  }

  moveCut(place) {
    const { piece } = this;
    const { bars, length } = piece.base;
    let cut = Math.min(Math.max(place, 0), length);
    if (bars.length && cut < length - 0.05) {
      // Music is continued from a bar line.
      const i = Math.max(1, countUpTo(bars, cut + 1e-3) - 1);
      cut = bars[Math.min(i, bars.length - 1)] || length;
    }
    piece.cut = cut;
    this.cutRange.value = Math.round((1000 * cut) / (length || 1));
    this.cutWords.textContent = this.lengthOf(cut);
    if (piece.domain === "text") this.words.showPrompt(piece);
    this.dirty();
  }

  /** Of text: continue what stands before a place that was clicked. */
  cutWordsAt(characters) {
    if (!this.canMoveCut) return;
    const { text, hidden } = this.piece.base;
    this.moveCut(hidden + new TextEncoder().encode(text.slice(0, characters)).length);
  }

  lengthOf(length) {
    return this.piece.domain === "text" ? `${Math.round(length).toLocaleString("en")} bytes` : clock(length);
  }

  // Writing

  /** Continue what is on the stage as the controls say. */
  async go(asked) {
    if (this.piece?.writing || this.busy) return;
    const { piece } = this;
    const base = piece.base;
    const { of } = base;
    const length = of?.source && piece.cut < base.length ? { length: piece.cut } : {};
    await this.write(new Piece(base), { ...asked, ...of, ...length });
  }

  async branch(step, stream, id) {
    const { piece } = this;
    if (piece.writing || this.busy) return;
    await this.write(new Piece(piece.base), { ...piece.candidate.asked, step, stream, id });
  }

  async write(piece, asked) {
    this.busy = true;
    this.clearProblem();
    performance.mark("muse:go");
    this.say("Asked for.");
    document.body.classList.add("muse-writing");
    // On a small screen the stage lies below the controls.
    if (this.title.getBoundingClientRect().top > window.innerHeight - 120) this.title.scrollIntoView({ behavior: "smooth" });
    try {
      await grow(asked, (part) => this.hear(piece, part), (place, of, seconds) => this.wait(place, of, seconds));
      if (!piece.run) this.say("Stopped before it began.");
    } catch (problem) {
      piece.writing = false;
      this.tell(problem);
    } finally {
      this.busy = false;
      document.body.classList.remove("muse-writing");
      if (this.piece === piece) this.arrange();
    }
  }

  wait(place, of, seconds) {
    this.say(`Waiting: place ${place}${of > 1 ? ` of ${of}` : ""}${seconds ? `, about ${Math.ceil(seconds)} s` : ""}.`);
  }

  hear(piece, part) {
    piece.hear(part);
    if (part.type === "begun") {
      this.lastSeed = part.seed;
      this.put(piece);
      this.began = false;
      this.say("Reading the prompt.");
    } else if (part.type === "grew") this.grew(piece, part);
    else if (part.type === "done") this.finished(piece, part);
  }

  grew(piece, part) {
    if (this.piece !== piece) return;
    const left = part.left === null ? "" : `, ${part.left < 1 ? "under 1" : Math.ceil(part.left)} s left`;
    this.say(`Writing: ${part.steps} steps, ${part.rate.toFixed(0)} a second${left}.`);
    if (piece.domain === "text") this.words.add(piece.candidate);
    else if (!this.began && this.hearToggle.checked) {
      this.began = true;
      this.hearing.play(piece.cut);
    }
    if (piece.end > this.axis.end) this.axis.end = piece.end;
    this.dirty();
  }

  finished(piece, part) {
    if (this.piece !== piece) return;
    const { candidate } = piece;
    this.say(`${part.stopped ? "Stopped" : "Done"}: ${this.lengthOf(candidate.end - piece.cut)} in ${candidate.steps} steps, seed ${piece.seed}.`);
    this.arrange();
    this.axis.show(this.axis.left, this.axis.right, piece.end);
  }

  async stop() {
    if (!this.busy) {
      this.player.stop();
      return;
    }
    try {
      if (!(await leaveQueue())) await call("stop", {});
    } catch (problem) {
      this.tell(problem);
    }
  }

  // Hearing

  playerChanged() {
    this.playButton.textContent = this.player.playing ? "Pause" : "Play";
    this.hearing.followed = null;
    this.dirty();
  }

  // Seeing why

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
      const looked = await candidate.look(step);
      // Meanwhile another may have been chosen.
      if (this.piece.candidate !== candidate || this.aim !== step) return;
      this.step = this.piece.step = step;
      this.why.show(candidate, looked);
      show(this.lane, this.piece.domain !== "text");
      const place = candidate.edge(step);
      if (this.piece.domain !== "text" && (place < this.axis.left || place > this.axis.right)) this.axis.follow(place);
      this.relight();
      this.matrix.of(candidate, step);
      this.picture.draw();
      performance.mark("muse:map");
    } catch (problem) {
      this.tell(problem);
    }
  }

  pickHead() {
    this.head = Number(this.headPick.value);
    const { candidate } = this.piece;
    if (candidate && this.piece.domain === "text") this.words.bands(candidate, this.head);
    this.dirty();
  }

  relight() {
    const { candidate, domain } = this.piece;
    if (domain === "text") this.words.light(candidate, this.step, this.step === null ? null : candidate?.rows.get(this.step), this.split.checked);
    this.dirty();
  }

  // Drawing

  dirty() {
    this.stale = true;
  }

  // Taking away

  async take(kind, step) {
    const { candidate } = this.piece;
    if (!candidate?.done) return;
    try {
      const { path, name } = await call("take", { ...candidate.asked, kind, step });
      const link = el("a", { href: address(path), download: name });
      document.body.append(link);
      link.click();
      link.remove();
    } catch (problem) {
      this.tell(problem);
    }
  }

  // Saying

  say(words) {
    this.status.textContent = words;
  }

  tell(problem) {
    if (!(problem instanceof Problem)) console.error(problem);
    this.problem.textContent = problem instanceof Problem ? problem.message : "something went wrong on this page";
    show(this.problem, true);
  }

  clearProblem() {
    show(this.problem, false);
  }
}

