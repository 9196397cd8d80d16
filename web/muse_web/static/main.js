// Starts the page. Gradio's controls call the functions of `window.muse`.

import { usePalette } from "./palette.js";
import { Prompt } from "./prompt.js";
import { Stage } from "./stage.js";
import { Problem, keepAlive } from "./api.js";

async function found(id) {
  let element = document.getElementById(id);
  while (!element) {
    await new Promise(requestAnimationFrame);
    element = document.getElementById(id);
  }
  return element;
}

export async function start(configuration) {
  if (window.muse) return;
  window.muse = {};
  usePalette(configuration.colours);
  const stage = new Stage(await found("muse-stage"), configuration);
  const prompt = new Prompt(await found("muse-prompt"), configuration, {
    opened: (base) => {
      stage.clearProblem();
      stage.open(base);
    },
    showProblem: (problem) => stage.showProblem(problem),
    mayOpen() {
      if (!stage.generation.busy) return true;
      stage.showProblem(new Problem(`${stage.generation.piece.base.name} is still being generated; press Stop first`));
      return false;
    },
  });
  Object.assign(window.muse, {
    async go(payload) {
      // A prompt that is still being opened is the one to continue.
      await prompt.pending;
      if (await prompt.openWords()) await stage.generation.go({ ...payload, domain: stage.piece.domain });
    },
    stop: () => stage.generation.stop(),
    lastSeed: () => String(stage.generation.lastSeed ?? ""),
    async choose(domain) {
      prompt.choose(domain);
      // Otherwise a running generation would continue out of sight.
      await stage.generation.stop();
      if (prompt.domain !== domain) return; // another domain was selected meanwhile
      stage.clearProblem();
      if (stage.recall(domain)) return;
      stage.open(prompt.empty());
      prompt.open({ example: configuration.domains[domain].examples[0] });
    },
  });
  keepAlive();
  window.muse.choose("midi");
}
