"""What hatchling asks when it builds us: the wheel and the source distribution carry the built page.

A source distribution has the page already, so installing it needs no Node; from a bare checkout pip fetches one.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# hatchling runs this file by its path, so its neighbours cannot simply be imported.
_spec = importlib.util.spec_from_file_location("build_page", Path(__file__).parent / "web_peer" / "build_page.py")
assert _spec is not None and _spec.loader is not None
page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(page)


class PageHook(BuildHookInterface[Any]):
    """Puts the built page into wheels and source distributions."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        # An editable install does not build the page. Asked for requirements, hatchling does not say what for; the
        # command line of the process it was started in does (PEP 517's name of the question).
        needless = "get_requires_for_build_editable" in sys.argv or page.is_current() or page.node_on_path() is not None
        return [] if needless else [page.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # An editable install serves web_peer/dist from the checkout, whenever somebody builds it.
        if version == "editable":
            return
        page.build()
        where = "crowdcompute/signaling/web" if self.target_name == "wheel" else "web_peer/dist"
        build_data["force_include"][str(page.DIST)] = where
