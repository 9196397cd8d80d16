"""The public interface: a model is loaded, continues a prompt, and returns continuations.

`import muse_shortcut as muse` re-exports what is public here. The command line, the page, the samples of training and
the evaluation generate by this interface and nothing else.
"""
