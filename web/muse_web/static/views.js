// The views of pieces: piano roll, spectrogram, or text. The server names the view of each domain.

import { clock, visible } from "./dom.js";

/** On a time axis, with sound and a playhead. */
class Timed {
  words = false;
  byNote = false; // whether selection and playback go note by note
  spectrum = false;
  least = 0.1; // shortest prompt
  ring = 0; // seconds for the last note to fade
  longest = Infinity; // longer prompts are initially split at `usual`

  length(length) {
    return clock(length);
  }

  placeOf(candidate, step) {
    return clock(candidate.edge(step), 2);
  }

  /** The name of a source. */
  nameOf(candidate, span, first) {
    return { label: this.labelOf(candidate, span), at: clock(Math.max(0, candidate.edges[first - candidate.base]), 2) };
  }

  /** How much of the beginning of a prompt the page does not hold. */
  hidden() {
    return 0;
  }
}

class Notes extends Timed {
  byNote = true;
  ring = 1.5;
  longest = 30;
  usual = 20;

  labelOf(candidate, span) {
    return candidate.labels[span];
  }
}

class Sound extends Timed {
  spectrum = true;
  longest = 10;
  usual = 8;

  labelOf() {
    return "frame";
  }
}

/** Laid out as words, without an axis. */
class Text extends Timed {
  words = true;
  least = 1;

  length(length) {
    return `${Math.round(length).toLocaleString("en")} bytes`;
  }

  placeOf(candidate, step) {
    return `token ${step + 1}`;
  }

  nameOf(candidate, span, first) {
    const at = 2 * (first - candidate.base);
    const [from, to] = candidate.finalCharacters.subarray(at, at + 2);
    return { label: `“${visible(candidate.finalText.slice(from, to))}”`, at: "" };
  }

  hidden(base) {
    // The page holds only the end of a text.
    return Math.max(0, base.length - new TextEncoder().encode(base.text).length);
  }
}

export const VIEWS = { notes: new Notes(), sound: new Sound(), text: new Text() };
