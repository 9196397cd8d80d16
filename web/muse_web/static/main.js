// Where the page begins: gradio's controls call what is put on `window.muse`.

import { usePalette } from "./palette.js";
import { Prompt } from "./prompt.js";
import { Stage } from "./stage.js";
import { Problem, stay } from "./api.js";

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
    tell: (problem) => stage.tell(problem),
    mayOpen() {
      if (!stage.generation.busy) return true;
      stage.tell(new Problem(`${stage.generation.piece.base.name} is still being generated; press Stop first`));
      return false;
    },
  });
  Object.assign(window.muse, {
    async go(asked) {
      // What is being opened is what is to be continued.
      await prompt.pending;
      if (await prompt.openWords()) await stage.generation.go({ ...asked, domain: stage.piece.domain });
    },
    stop: () => stage.generation.stop(),
    lastSeed: () => String(stage.generation.lastSeed ?? ""),
    async choose(domain) {
      prompt.choose(domain);
      // What is being generated would go on unseen.
      await stage.generation.stop();
      if (prompt.domain !== domain) return; // chosen on meanwhile
      stage.clearProblem();
      if (stage.recall(domain)) return;
      stage.open(prompt.empty());
      prompt.open({ example: configuration.domains[domain].examples[0] });
    },
  });
  stay();
  window.muse.choose("midi");
}
