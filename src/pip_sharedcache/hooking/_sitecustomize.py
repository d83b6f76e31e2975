"""Has pip install through the shared store, in every environment made from this interpreter.
Written by `pip-sharedcache store enable --sitecustomize`, taken away by `... store disable
--sitecustomize`. Another sitecustomize that it stands before is run as if it were not here.
"""

import os
import sys

try:
    import _pip_sharedcache_everywhere  # type: ignore[import-not-found]

    _pip_sharedcache_everywhere.start()
except Exception:  # gone, or damaged: no Python is to notice
    pass


def go_on():  # type: ignore[no-untyped-def]
    """Run the sitecustomize that would have been found without this one, in its place."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = [place for place in sys.path if os.path.abspath(place) != here]
    for finder in sys.meta_path:
        spec = finder.find_spec("sitecustomize", path) if hasattr(finder, "find_spec") else None
        if spec is None or spec.loader is None:
            continue
        module = type(sys)("sitecustomize")
        module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)
        return


go_on()  # type: ignore[no-untyped-call]
