# Written by `pip-sharedcache store enable --conda`: pip is what it was before.
def _pip_sharedcache(environment):
    context, aliases = __xonsh__.ctx, __xonsh__.aliases
    state = context.get("_pip_sharedcache_in")
    if state is None:
        return
    state["environments"].discard(environment)
    if state["environments"]:
        return
    for name, command in state["ours"].items():
        if name not in aliases or aliases[name] != command:
            continue  # somebody has defined another one since: that stays
        del aliases[name]
        if name in state["was"]:
            aliases[name] = state["was"][name]
    del context["_pip_sharedcache_in"]


_pip_sharedcache("@TOKEN@")
del _pip_sharedcache
