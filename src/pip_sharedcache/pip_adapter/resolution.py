"""The reuse of resolutions: pip's own resolver runs on the candidates that it looked at last time.

A replay's answer counts only if the index pages, the metadata of every candidate and the result are
the recorded ones. Otherwise pip's resolver runs again on everything, as if nothing had been tried.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable
from optparse import Values
from pathlib import Path
from typing import Any

from pip_sharedcache import fs, trust
from pip_sharedcache.pip_adapter import resolver_seams, seams
from pip_sharedcache.pip_adapter.downloads import Downloads, do_nothing
from pip_sharedcache.pip_adapter.fresh_pages import FreshPages
from pip_sharedcache.pip_adapter.index_pages import IndexPages
from pip_sharedcache.pip_adapter.judging import Judging, sort_key
from pip_sharedcache.pip_adapter.protocols import Link
from pip_sharedcache.pip_adapter.questions import host, projects_of, question_of
from pip_sharedcache.pip_adapter.recording import Recording, installed_fact
from pip_sharedcache.pip_adapter.replay import HeldLog, Replay
from pip_sharedcache.pip_adapter.seams import Call
from pip_sharedcache.session.resolutions import Resolution
from pip_sharedcache.session.session import Session
from pip_sharedcache.session.wheels import without_credentials

logger = logging.getLogger(__name__)

_VERBOSE = 15  # the level of pip's -v


class Resolutions:
    """The wrappers around what pip's resolver reads, and around its runs."""

    def __init__(self, downloads: Downloads) -> None:
        self._downloads = downloads
        self._run: Recording | None = None
        self._options = Values()
        self._judges = False

    def put_in(self) -> None:
        """Wrap the seams, if this pip has them all."""
        if problem := resolver_seams.problem(resolver_seams.ALL):
            logger.debug("No resolution is recorded or reused with this pip: %s", problem)
            return
        seams.wrap(
            resolver_seams.RESOLVE, seams.during(lambda: self._downloads.installing, self._resolve)
        )
        for seam, handle in (
            (resolver_seams.FETCH_PAGE, self._fetch_page),
            (resolver_seams.NEW_CANDIDATE, self._new_candidate),
            (resolver_seams.PREPARE_MORE, self._prepare_more),
        ):
            seams.wrap(seam, seams.during(lambda: self._run, handle))
        problem = resolver_seams.problem(resolver_seams.JUDGING)
        self._judges = not problem
        if problem:
            logger.debug("pip judges each index page anew: %s", problem)
            return
        for seam, handle in (
            (resolver_seams.PROCESS_PAGE, self._process_page),
            (resolver_seams.CANDIDATE_EVALUATOR, self._new_evaluator),
            (seams.FETCH_METADATA, self._fetch_metadata),
        ):
            seams.wrap(seam, seams.during(lambda: self._run, handle))

    def begin(self, options: Values) -> None:
        """Take the ``options`` of pip at the start of a run."""
        self._options = options

    def _resolve(self, session: Session, call: Call) -> Any:
        # Within a resolution, pip resolves the requirements of builds.
        settings = session.settings
        if self._run is not None or not session.layers or not settings.resolutions:
            return call.proceed()
        if settings.offline:
            return call.proceed()  # what the store holds changes, and costs no request
        question = self._question(call)
        if question is None:
            return call.proceed()
        installed = functools.partial(installed_fact, call.instance.factory._installed_dists)
        fresh = FreshPages(self._downloads.cache)
        pages = IndexPages(call.instance.factory._finder._link_collector, fresh)
        with contextlib.ExitStack() as ending:
            ending.callback(self._end)
            ending.enter_context(pages)
            known = session.resolutions.find(question, installed, host())
            if known is None and session.remotes.named:
                known = self._find_signed(session, call, question, installed)
            if known is not None:
                answer = self._replay(session, call, pages, known)
                if answer is not None:
                    return answer
            fs.use_one_arena()
            ending.callback(fs.give_back)  # of what was kept of pages
            requests = self._downloads.responses.requests
            self._run = recording = self._recording(session, call, pages, question)
            ending.callback(recording.close)
            ending.callback(recording.end_threads)
            last = filter(None, map(recording.project_at, known.pages if known else ()))
            wanted = [(name, None) for name in last]
            recording.ask_ahead([*projects_of(call.named["root_reqs"]), *wanted])
            answer = call.proceed()
            if session.resolutions.are_recorded:
                requests = self._downloads.responses.requests - requests
                try:
                    self._record(session, recording, question, installed, requests, answer)
                except Exception as error:  # pip has its answer, and its run goes on
                    logger.warning("The resolution is not recorded: %s", _in_one_line(error))
            return answer

    def _find_signed(
        self,
        session: Session,
        call: Call,
        question: dict[str, Any],
        installed: Callable[[str], str],
    ) -> Resolution | None:
        """Return the resolution of a remote store, if the answer costs more here than there."""
        session.remotes.get_ready()
        if self._knows_pages(session, call, question):
            return None
        return session.resolutions.find_signed(question, installed, host())

    def _knows_pages(self, session: Session, call: Call, question: dict[str, Any]) -> bool:
        """Return whether the stores have the judged pages of all that is asked for."""
        finder = call.instance.factory._finder
        judging = Judging(finder, question, session.pages) if self._judges else None
        return judging is not None and all(
            judging.known(without_credentials(url), name)
            for name, _ in projects_of(call.named["root_reqs"])
            for url in finder.search_scope.get_index_urls_locations(name)
        )

    def _end(self) -> None:
        self._run = None

    def _recording(
        self, session: Session, call: Call, pages: IndexPages, question: dict[str, Any]
    ) -> Recording:
        finder, judging = call.instance.factory._finder, None
        # At these levels pip says what it thinks of each file of a page.
        if self._judges and not logging.getLogger(type(finder).__module__).isEnabledFor(_VERBOSE):
            keeps = session.resolutions.are_recorded
            judging = Judging(finder, question, session.pages, keeps=keeps)
        follows = not getattr(self._options, "ignore_dependencies", False)
        return Recording(
            call.instance,
            pages,
            judging,
            follows=follows,
            needs_metadata=functools.partial(self._downloads.needs_metadata, session),
        )

    def _question(self, call: Call) -> dict[str, Any] | None:
        try:
            question = question_of(call.instance, call.named["root_reqs"], self._options)
        except Exception as error:  # a pip with other insides: its resolver runs as always
            question = f"{type(error).__name__}: {error}"
        if isinstance(question, str):
            logger.debug("The resolution is not recorded: %s", question)
            return None
        return question

    def _record(
        self,
        session: Session,
        recording: Recording,
        question: dict[str, Any],
        installed: Callable[[str], str],
        requests: int,
        answer: Any,
    ) -> None:
        if recording.problem:
            logger.warning("The resolution is not recorded: %s", recording.problem)
            return
        resolution = recording.resolution(question, installed, requests, answer.all_requirements)
        if resolution is not None:
            private = self._private_because(session, recording, recording.origins)
            session.resolutions.share(
                resolution,
                private_because=private,
                is_public=not private
                and self._downloads.responses.are_public(
                    recording.origins, asks=session.remotes.take_signed
                ),
            )
        if recording.judging is not None:
            by_url: dict[str, list[Link]] = {}
            for link in recording.origins:
                by_url.setdefault(without_credentials(link.url), []).append(link)
            recording.judging.share(
                recording.leads_to,
                lambda page: self._private_because(session, recording, by_url.get(page.url, ())),
            )

    def _replay(self, session: Session, call: Call, pages: IndexPages, known: Resolution) -> Any:
        """Return pip's answer on the candidates of ``known``; None if it does not count."""
        resolver, log = call.instance, HeldLog()
        preparer = vars(resolver.factory.preparer)
        header = {name: preparer[name] for name in preparer if name.endswith("requirement_header")}
        requests = self._downloads.responses.requests
        self._run = replay = Replay(resolver, pages, known, log)
        if session.resolutions.is_pulled(known):
            replay.confirmed = lambda: self._downloads.pull_ahead(session, replay.answered_links())
        self._downloads.before_download = log.release
        log.hold()
        try:
            answer = call.original.__func__(replay.resolver, **call.named)  # type: ignore[attr-defined]
            replay.answer(answer.all_requirements)
        except Exception as error:
            if replay.counts:
                raise  # of a download after the resolution, in pips up to 25.2
            log.drop()
            logger.debug("The resolution is not reused: %s: %s", type(error).__name__, error)
            preparer.update(header)  # else pip would not say again what it collects
            return None
        finally:
            log.drop()
            self._run = None
            self._downloads.before_download = do_nothing
        vars(resolver).update(vars(replay.resolver))
        logger.debug("The resolution is reused: %s candidates", len(known.candidates))
        # Where pages have other ETags: with these, later runs get no content.
        session.resolutions.renew(
            pages.etags, lambda: self._private_because(session, replay, replay.origins)
        )
        session.resolutions.record_reuse(
            requests=known.requests - (self._downloads.responses.requests - requests),
            seconds=known.seconds - (time.monotonic() - replay.began),
        )
        return answer

    def _private_because(self, session: Session, run: Recording, origins: Iterable[Link]) -> str:
        """Return why what came from ``origins`` must not be shared; "" where all can get it."""
        pip_session, origins = run.finder._link_collector.session, tuple(origins)
        responses, sharing = self._downloads.responses, session.sharing
        for link in origins:
            reason = responses.private(pip_session, link)
            if link.is_file and not reason and sharing.shows_others():
                readable = trust.readable_by_all(Path(link.file_path))
                reason = "" if readable else "it came from where others may not read"
            if reason and not sharing.is_shared_anyway(link.url):
                return reason
        if not sharing.shows_new():
            return ""
        asked = [link for link in origins if not sharing.is_shared_anyway(link.url)]
        return responses.not_public(asked)

    def _process_page(self, run: Recording, call: Call) -> Any:
        if call.instance is not run.finder:
            return call.proceed()
        return run.process(call.named["project_url"], call.named["link_evaluator"], call)

    def _new_evaluator(self, run: Recording, call: Call) -> Any:
        evaluator = call.proceed()
        if not call.named["hashes"]:  # else pip puts the candidates with these first
            evaluator._sort_key = functools.partial(sort_key, evaluator._sort_key)
        return evaluator

    def _fetch_metadata(self, run: Recording, call: Call) -> Any:
        if run.judging is None or call.instance is not run.resolver.factory.preparer:
            return call.proceed()
        with run.foresight.meanwhile.requests_of(call.instance):
            return call.proceed()

    def _fetch_page(self, run: Recording, call: Call) -> Any:
        return run.page(call.named["location"]) if run.is_read_by(call.instance) else call.proceed()

    def _new_candidate(self, run: Recording, call: Call) -> None:
        if call.named["factory"] is not run.resolver.factory:
            call.proceed()
            return
        pinned = bool(getattr(call.named["template"], "hash_options", None))
        run.before(call.named["link"], pinned=pinned)
        call.proceed()
        extras = getattr(call.named["template"], "extras", ())
        run.after(call.named["link"], call.instance.dist, extras)

    def _prepare_more(self, run: Recording, call: Call) -> Any:
        run.end_threads()  # no worker process can be started while threads run
        if isinstance(run, Replay):
            run.answer(call.named["reqs"])
        elif not run.problem:
            try:
                run.finish()
            except Exception as error:  # pip has its answer, and its run goes on
                run.problem = _in_one_line(error)
        return call.proceed()


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
