"""The store on disk: where an entry lies, looking one up, publishing one."""

from pip_sharedcache.store.layout import Store, survey
from pip_sharedcache.store.lookup import Found, find, hold
from pip_sharedcache.store.publish import publish

__all__ = ["Found", "Store", "find", "hold", "publish", "survey"]
