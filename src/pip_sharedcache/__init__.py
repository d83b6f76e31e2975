"""pip with one shared, permission-aware store of unpacked wheels."""

__version__ = "0.1.0"
