"""One run of ``pip install``: its lookups, entries to publish, placements and repairs."""
