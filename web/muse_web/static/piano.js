// A piano that is played with the mouse, touch, the letters of a keyboard, or a MIDI keyboard.

import { el } from "./dom.js";

const LETTERS = "awsedftgyhujkolp"; // from C4 upwards
const BLACK = new Set([1, 3, 6, 8, 10]);
const LOW = 48;
const HIGH = 84;

export class Piano {
  /** `changed` is called with the number of notes that have been played. */
  constructor(changed) {
    this.changed = changed;
    this.notes = []; // [pitch, velocity, down, up]
    this.down = new Map();
    this.keys = new Map();
    this.element = el("div", { className: "muse-piano", tabIndex: 0, role: "application" });
    this.element.setAttribute("aria-label", "Piano: play with the mouse, or with the letters A to P");
    let whites = 0;
    for (let pitch = LOW; pitch <= HIGH; pitch++) {
      const black = BLACK.has(pitch % 12);
      const key = el("div", { className: black ? "black" : "white" });
      key.dataset.pitch = pitch;
      key.style.left = `calc(var(--white) * ${black ? whites - 0.32 : whites})`;
      if (!black) whites += 1;
      this.keys.set(pitch, key);
      this.element.append(key);
    }
    this.element.style.setProperty("--whites", whites);
    this.listen();
  }

  listen() {
    const at = (event) => Number(document.elementFromPoint(event.clientX, event.clientY)?.dataset?.pitch || 0);
    const held = new Map(); // pitch by pointer
    this.element.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      this.element.focus();
      this.element.setPointerCapture(event.pointerId);
      held.set(event.pointerId, at(event));
      this.press(at(event), 84);
    });
    this.element.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (before === undefined || at(event) === before) return;
      this.release(before);
      held.set(event.pointerId, at(event));
      this.press(at(event), 84);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.element.addEventListener(name, ({ pointerId }) => {
        this.release(held.get(pointerId));
        held.delete(pointerId);
      });
    }
    // Held notes would never end, since their key release is not received.
    this.element.addEventListener("blur", () => this.releaseAll());
    this.element.addEventListener("keydown", (event) => {
      const place = LETTERS.indexOf(event.key.toLowerCase());
      if (place < 0 || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.press(60 + place, 84);
    });
    this.element.addEventListener("keyup", (event) => {
      const place = LETTERS.indexOf(event.key.toLowerCase());
      if (place >= 0) this.release(60 + place);
    });
  }

  /** Connect MIDI keyboards and report what was found. Browsers allow this only on localhost and over https. */
  async connect() {
    if (!navigator.requestMIDIAccess) {
      return window.isSecureContext
        ? "This browser does not support MIDI keyboards."
        : "MIDI keyboards work only on localhost or over https.";
    }
    let access;
    try {
      access = await navigator.requestMIDIAccess();
    } catch {
      return "The browser has no access to MIDI keyboards.";
    }
    const names = [];
    for (const input of access.inputs.values()) {
      names.push(input.name);
      input.onmidimessage = ({ data: [status, pitch, velocity] }) => {
        if ((status & 0xf0) === 0x90 && velocity) this.press(pitch, velocity);
        else if ((status & 0xe0) === 0x80) this.release(pitch);
      };
    }
    return names.length ? `Connected: ${names.join(", ")}.` : "No MIDI keyboard is connected.";
  }

  press(pitch, velocity) {
    if (!pitch || this.down.has(pitch)) return;
    this.down.set(pitch, { since: performance.now() / 1000, velocity, voice: this.sound(pitch, velocity) });
    this.keys.get(pitch)?.classList.add("down");
  }

  release(pitch) {
    const held = this.down.get(pitch);
    if (!held) return;
    this.down.delete(pitch);
    held.voice();
    this.keys.get(pitch)?.classList.remove("down");
    this.notes.push([pitch, held.velocity, held.since, performance.now() / 1000]);
    this.changed(this.notes.length);
  }

  /** Play a simple tone while a key is held. Returns a function that ends it. */
  sound(pitch, velocity) {
    this.context ??= new AudioContext();
    this.context.resume();
    const { context } = this;
    const gain = new GainNode(context, { gain: 0 });
    const tone = new OscillatorNode(context, { type: "triangle", frequency: 440 * 2 ** ((pitch - 69) / 12) });
    tone.connect(gain).connect(context.destination);
    gain.gain.linearRampToValueAtTime((0.25 * velocity) / 127, context.currentTime + 0.005);
    gain.gain.setTargetAtTime(0, context.currentTime + 0.01, 0.6);
    tone.start();
    return () => {
      gain.gain.cancelScheduledValues(context.currentTime);
      gain.gain.setTargetAtTime(0, context.currentTime, 0.03);
      tone.stop(context.currentTime + 0.3);
    };
  }

  releaseAll() {
    for (const pitch of [...this.down.keys()]) this.release(pitch);
  }

  clear() {
    this.releaseAll();
    this.notes = [];
    this.changed(0);
  }
}
