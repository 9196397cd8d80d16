"""The public interface: load a model, continue a prompt, get continuations.

`import muse_shortcut as muse` re-exports the public names. The command line, the page, the samples of training and the
evaluation generate through this interface only.
"""
