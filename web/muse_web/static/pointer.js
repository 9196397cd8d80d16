// Pointer and keyboard input on the stage: drags the split point, moves the axis, selects notes.

export class Pointer {
  constructor(stage) {
    this.stage = stage;
    this.listen();
  }

  listen() {
    const { stage } = this;
    stage.axis.listen(stage.canvas);
    stage.axis.listen(stage.bands);
    let drag = null;
    const place = (event) => stage.axis.place(event.offsetX, stage.canvas.clientWidth);
    const onCut = (event) => stage.canMoveCut && Math.abs(stage.axis.x(stage.piece.splitPoint, stage.canvas.clientWidth) - event.offsetX) < 9;
    stage.canvas.addEventListener("pointerdown", (event) => {
      stage.canvas.setPointerCapture(event.pointerId);
      drag = { splitPoint: onCut(event), x: event.offsetX, left: stage.axis.left, right: stage.axis.right, moved: false };
    });
    stage.canvas.addEventListener("pointermove", (event) => {
      stage.canvas.style.cursor = (drag ? drag.splitPoint : onCut(event)) ? "ew-resize" : "default";
      if (!drag) return;
      const by = ((event.offsetX - drag.x) / stage.canvas.clientWidth) * (drag.right - drag.left);
      drag.moved ||= Math.abs(event.offsetX - drag.x) > 4;
      if (drag.splitPoint) stage.moveCut(place(event));
      else if (drag.moved) stage.axis.show(drag.left - by, drag.right - by);
    });
    stage.canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.splitPoint && !drag.moved) this.clicked(event.offsetX, event.offsetY);
      drag = null;
    });
    stage.canvas.addEventListener("pointercancel", () => (drag = null));
    stage.bands.addEventListener("click", (event) => {
      const step = stage.piece.candidate?.stepAt(stage.axis.place(event.offsetX, stage.bands.clientWidth));
      if (step !== null && step !== undefined) stage.choose(step);
    });
    const keys = (event) => {
      if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        event.preventDefault();
        this.chooseNext(event.key === "ArrowRight" ? 1 : -1);
      } else if (event.key === " ") {
        event.preventDefault();
        stage.playback.playOrPause();
      } else if (event.key === "+" || event.key === "=") stage.axis.zoom(0.7);
      else if (event.key === "-") stage.axis.zoom(1.4);
    };
    stage.canvas.addEventListener("keydown", keys);
    stage.words.element.addEventListener("keydown", keys);
  }

  clicked(x, y) {
    const { stage } = this;
    performance.mark("muse:click");
    const { piece, canvas } = stage;
    const { candidate } = piece;
    stage.player.position = stage.axis.place(x, canvas.clientWidth);
    if (stage.player.playing) stage.playback.play(stage.player.position);
    if (!candidate) {
      stage.dirty();
      return;
    }
    if (!candidate.done) {
      stage.say("Its attention can be shown when generation has ended.");
      return;
    }
    if (piece.view.byNote) {
      const note = stage.picture.roll.noteAt(candidate.notes, stage.axis, x, y, canvas.clientWidth, canvas.clientHeight);
      if (!note) stage.unchoose();
      else if (candidate.isNew(note)) stage.choose(candidate.stepOf(note));
      else stage.say("That note is part of the prompt; only generated notes can be explained.");
    } else {
      const step = candidate.stepAt(stage.axis.place(x, canvas.clientWidth));
      if (step === null) stage.unchoose();
      else stage.choose(step);
    }
  }

  chooseNext(by) {
    const { stage } = this;
    const { candidate, view } = stage.piece;
    if (!candidate?.done) return;
    if (!view.byNote) {
      stage.choose(Math.min(candidate.steps - 1, Math.max(0, (stage.aim ?? -1) + by)));
      return;
    }
    const { steps } = stage.playback.noteHeads(candidate);
    const at = stage.aim === null ? (by > 0 ? -1 : steps.length) : steps.findLastIndex((one) => one <= stage.aim);
    const next = steps[Math.min(steps.length - 1, Math.max(0, at + by))];
    if (next !== undefined) stage.choose(next);
  }
}
