"""The seams around pip's resolver: its run, the pages that it reads, the candidates that it makes.

Without one of them no resolution is recorded or reused.
"""

from __future__ import annotations

from pip_sharedcache.pip_adapter.seams import CANDIDATE, PREPARER, Seam

RESOLVE = Seam(
    "pip._internal.resolution.resolvelib.resolver",
    "Resolver.resolve",
    ("root_reqs", "check_supported_wheels"),
)
RESOLVER_STATE = Seam(
    RESOLVE.module, "Resolver.__init__", ("finder", "preparer"), sets=("factory",)
)
FACTORY_STATE = Seam(
    "pip._internal.resolution.resolvelib.factory",
    "Factory.__init__",
    ("finder", "preparer", "ignore_installed"),
    sets=("_finder", "preparer", "_installed_dists"),
)
FINDER_STATE = Seam(
    "pip._internal.index.package_finder",
    "PackageFinder.__init__",
    ("link_collector",),
    sets=("_link_collector", "_candidate_prefs", "format_control"),
    beside=("search_scope", "target_python"),
)
FETCH_PAGE = Seam("pip._internal.index.collector", "LinkCollector.fetch_response", ("location",))
COLLECTOR_STATE = Seam(
    FETCH_PAGE.module,
    "LinkCollector.__init__",
    ("session", "search_scope"),
    sets=("session", "search_scope"),
)
NEW_CANDIDATE = Seam(CANDIDATE.module, CANDIDATE.attribute, ("link", "template", "factory"))
INDEX_CONTENT = Seam(
    FETCH_PAGE.module,
    "IndexContent.__init__",
    ("content", "content_type", "encoding", "url", "cache_link_parsing"),
)
PAGE_PARSER = Seam(
    FETCH_PAGE.module, "HTMLLinkParser.__init__", ("url",), sets=("anchors", "base_url")
)
#: The end of the resolution in pips up to 25.2.
PREPARE_MORE = Seam(
    PREPARER.module, "RequirementPreparer.prepare_linked_requirements_more", ("reqs",)
)
#: pip's HTTP cache. Without the first, nothing that comes from there is known to be public; without
#: the second, no page is fresh.
CACHED_REQUEST = Seam(
    "pip._vendor.cachecontrol.controller", "CacheController.cached_request", ("request",)
)
CACHE_CONTROL = Seam(CACHED_REQUEST.module, "CacheController.parse_cache_control", ("headers",))
#: Between a page and the candidates: without one of these, pip judges each page anew.
PROCESS_PAGE = Seam(
    FINDER_STATE.module, "PackageFinder.process_project_url", ("project_url", "link_evaluator")
)
CANDIDATE_EVALUATOR = Seam(
    FINDER_STATE.module,
    "PackageFinder.make_candidate_evaluator",
    ("project_name", "hashes"),
    beside=("make_link_evaluator", "requires_python_skipped_reasons"),
)
SORT_KEY = Seam(FINDER_STATE.module, "CandidateEvaluator._sort_key", ("candidate",))
LINK_EVALUATOR = Seam(
    FINDER_STATE.module,
    "LinkEvaluator.__init__",
    ("project_name", "target_python"),
    sets=("project_name", "_ignore_requires_python"),
)
FROM_JSON = Seam("pip._internal.models.link", "Link.from_json", ("file_data", "page_url"))
FROM_ELEMENT = Seam(
    FROM_JSON.module, "Link.from_element", ("anchor_attribs", "page_url", "base_url")
)
NEW_FOUND = Seam(
    "pip._internal.models.candidate",
    "InstallationCandidate.__init__",
    ("name", "version", "link"),
    beside=("name", "version", "link"),
)
JUDGING = (
    PROCESS_PAGE,
    CANDIDATE_EVALUATOR,
    SORT_KEY,
    LINK_EVALUATOR,
    FROM_JSON,
    FROM_ELEMENT,
    NEW_FOUND,
)
ALL = (
    RESOLVE,
    RESOLVER_STATE,
    FACTORY_STATE,
    FINDER_STATE,
    FETCH_PAGE,
    COLLECTOR_STATE,
    INDEX_CONTENT,
    PAGE_PARSER,
    NEW_CANDIDATE,
    PREPARE_MORE,
)


def problem(needed: tuple[Seam, ...]) -> str:
    """Return why no resolution is recorded or reused with this pip; "" if all seams fit.

    ``needed``: ALL, or JUDGING for judged pages."""
    return next(filter(None, (seam.problem() for seam in needed)), "")
