"""Plug-ins: domains and last layers of other installed packages, found by their entry points.

    [project.entry-points."muse_shortcut.domains"]
    abc = "abc_notation"

The name is that of the domain or the layer. The value is a module, which registers it when it is imported; it is
imported when it is first asked for by that name, and never because of what a checkpoint or a configuration contains
beyond the name. Does not know what a domain or a layer is. Cheap to import.
"""

from __future__ import annotations

from muse_tokenizers.errors import PluginError

__all__ = ["BUILT_IN_DOMAINS", "DOMAINS", "LAST_LAYERS", "installed_domains", "load_plugin", "plugin_names"]

DOMAINS = "muse_shortcut.domains"
LAST_LAYERS = "muse_shortcut.last_layers"
BUILT_IN_DOMAINS = ("midi", "audio", "text")


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names of a group's plug-ins that are installed, without importing them."""
    from importlib.metadata import entry_points

    return tuple(sorted({one.name for one in entry_points(group=group)}))


def installed_domains() -> tuple[str, ...]:
    """Return the names of the domains that are built in or installed, without importing them."""
    return (*BUILT_IN_DOMAINS, *(name for name in plugin_names(DOMAINS) if name not in BUILT_IN_DOMAINS))


def load_plugin(group: str, name: str) -> str:
    """Import the module of a plug-in, and return what messages call it; an empty string if none has this name.

    Raises:
        PluginError: The module cannot be imported, or several packages provide the name.
    """
    from importlib.metadata import entry_points

    found = {one.dist.name if one.dist else "?": one for one in entry_points(group=group, name=name)}
    if len(found) > 1:
        raise PluginError(f"the packages {' and '.join(sorted(found))} both provide {name!r}; uninstall one of them")
    for package, one in found.items():
        called = f"{one.value}, which the package {package} names for {name!r},"
        try:
            one.load()
        except Exception as error:
            # Whatever somebody else's module raises.
            raise PluginError(f"{called} cannot be imported: {type(error).__name__}: {error}") from error
        return called
    return ""
