"""The access of store commands to remote stores on web servers, by a session that pip makes."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pip_sharedcache.pip_adapter.web_remote import WebAccess

logger = logging.getLogger(__name__)


def open_web(url: str, timeout: float) -> WebAccess:
    """Return the access to the store at ``url`` by a new session of pip, as `pip download` has it.

    ``timeout``: seconds without an answer or a byte. Raises RemoteFailed if pip makes no session,
    such as for a wrong option in its configuration.
    """
    # Late: a run that misses nothing imports no client.
    from pip_sharedcache.pip_adapter.web_remote import WebAccess
    from pip_sharedcache.remote.access import RemoteFailed

    try:
        command = importlib.import_module("pip._internal.commands").create_command("download")
        options, _ = command.parse_args([])
        session = command._build_session(options)  # get_default_session is for pip's main alone
    except (Exception, SystemExit) as error:
        logger.debug("%s: no session of pip", url, exc_info=True)
        raise RemoteFailed(f"pip makes no session ({type(error).__name__})") from error
    return WebAccess(session, url, timeout)
