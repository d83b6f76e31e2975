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
    """Run the sitecustomize that would have been found without this one, in its place; only what
    comes behind it, since one that stands before may have found this one in just that way."""
    here = os.path.dirname(os.path.abspath(__file__))
    places = [os.path.abspath(place) for place in sys.path]
    path = sys.path[places.index(here) + 1 :] if here in places else []
    for finder in sys.meta_path:
        spec = finder.find_spec("sitecustomize", path) if hasattr(finder, "find_spec") else None
        if spec is None or spec.loader is None:
            continue
        # As importlib.util has it, which takes longer to be imported.
        module = sys.modules["_frozen_importlib"].module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)
        return


go_on()  # type: ignore[no-untyped-call]
