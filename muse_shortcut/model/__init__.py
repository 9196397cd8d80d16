"""The core: ids, positions, depths, caches. Knows nothing of domains, files or sampling.

Shape letters, here and in every docstring of this package:

    B batch    T positions    K streams    L layers    S tapped depths, n = |S|
    D width    H heads        C = D / H    V vocabulary
"""
