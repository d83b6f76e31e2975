"""The link mode of one run: asked for, and in force."""

from __future__ import annotations

from dataclasses import dataclass, field

from pip_sharedcache.model import LinkMode


@dataclass
class LinkChoice:
    """The link mode that the settings ask for, the one in force, and the reasons.

    ``asked``: the link mode of the settings.
    ``in_force``: the link mode that the linker tries first.
    ``refusals``: why a link mode was not used, for all files or for some.
    """

    asked: LinkMode
    in_force: LinkMode = field(init=False)
    refusals: dict[LinkMode, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.in_force = self.asked

    @property
    def refused(self) -> str:
        """Return why ``asked`` was not used, for all files or for some; "" if it was."""
        return self.refusals.get(self.asked, "")

    @property
    def clones(self) -> bool:
        """Return whether reflinks are in force, and none has failed."""
        return self.in_force is LinkMode.REFLINK and LinkMode.REFLINK not in self.refusals

    @property
    def needs_trees(self) -> bool:
        """Return whether links are asked for, which lead to files of a tree."""
        return self.asked in (LinkMode.HARDLINK, LinkMode.SYMLINK)

    @property
    def places_symlinks(self) -> bool:
        """Return whether symlinks are in force."""
        return self.in_force is LinkMode.SYMLINK

    def give_up_symlinks(self, why: str) -> None:
        """Use reflinks instead of symlinks, if these are in force; ``why``: "" for no reason."""
        if why and self.places_symlinks:
            self.in_force = LinkMode.REFLINK
            self.refusals[LinkMode.SYMLINK] = why

    def summary(self) -> str:
        """Return the end of the run's summary: why ``asked`` was not used, or ""."""
        if not self.refused or self.asked is LinkMode.COPY:
            return ""
        return f" (no {self.asked.value} here: {self.refused})"
