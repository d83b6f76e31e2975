"""The hook that makes pip use the shared store in all environments of this interpreter.

Written by `pip-sharedcache store enable --sitecustomize`, removed by `... store disable
--sitecustomize`. Another sitecustomize, which this one hides, runs as it would without this one.
"""

import os
import sys

try:
    import _pip_sharedcache_everywhere  # type: ignore[import-not-found]

    _pip_sharedcache_everywhere.start()
except Exception:  # missing or damaged: Python must start as before
    pass


def go_on():  # type: ignore[no-untyped-def]
    """Run the sitecustomize that Python would find without this one, in place of this one.

    Searches only the directories behind this one's: a sitecustomize in an earlier directory may
    have found this one by the same search.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.abspath(place) for place in sys.path]
    path = sys.path[places.index(here) + 1 :] if here in places else []
    for finder in sys.meta_path:
        spec = finder.find_spec("sitecustomize", path) if hasattr(finder, "find_spec") else None
        if spec is None or spec.loader is None:
            continue
        # The same function as in importlib.util, whose import takes longer.
        module = sys.modules["_frozen_importlib"].module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)
        return


go_on()  # type: ignore[no-untyped-call]
