# Written by `pip-sharedcache store enable --conda`: here pip installs through the shared store.
def _pip_sharedcache(environment, commands):
    context, aliases = __xonsh__.ctx, __xonsh__.aliases
    new = {"environments": set(), "ours": commands, "was": {}}
    state = context.setdefault("_pip_sharedcache_in", new)
    if not state["environments"]:
        for name, command in commands.items():
            # Some activations run the script for sh as well, of which xonsh takes over an alias.
            if name in aliases and "_launch.py" not in str(aliases[name]):
                state["was"][name] = aliases[name]
            aliases[name] = command
    state["environments"].add(environment)


_pip_sharedcache("@TOKEN@", @GUARDED@)
del _pip_sharedcache
