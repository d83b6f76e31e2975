"""One run of ``pip install``: what it found, publishes, places and repairs."""
