"""The explorer: its controls on top, its panels as tabs below; and the command that opens it as an app."""

import html
import os
import sys
from pathlib import Path

import ipywidgets as widgets

from tvae_core.explorer.opening import open_explorer
from tvae_core.explorer.panel_capsules import CapsulesPanel
from tvae_core.explorer.panel_compare import ComparePanel
from tvae_core.explorer.panel_controls import ControlsPanel
from tvae_core.explorer.panel_digit import DigitPanel
from tvae_core.explorer.panel_latents import LatentsPanel
from tvae_core.explorer.panel_roll import RollPanel
from tvae_core.explorer.panel_save import SavePanel
from tvae_core.explorer.state import ExplorerState, show_errors
from tvae_core.reproduce.notebooks import NOTEBOOKS

TABS = {
    "Roll": RollPanel,
    "One capsule": CapsulesPanel,
    "Latents": LatentsPanel,
    "Compare": ComparePanel,
    "Your own digit": DigitPanel,
    "Save": SavePanel,
}


class Explorer(widgets.VBox):
    """Controls above tabs. A tab is made when it is first opened, and draws only while it is open."""

    def __init__(self, explorer: ExplorerState):
        self.explorer, self.problem = explorer, widgets.HTML()
        self.panels: dict[int, widgets.VBox] = {}
        css, js = (Path(__file__).with_name(f"explorer.{kind}").read_text("utf-8") for kind in ("css", "js"))
        look = widgets.HTML(f'<style onload="{html.escape(js)}">{css}</style>')
        waiting = [widgets.VBox([widgets.HTML("One moment …")]) for _ in TABS]
        self.tabs = widgets.Tab(waiting, titles=tuple(TABS), selected_index=0)
        super().__init__([look, ControlsPanel(explorer), self.problem, self.tabs])
        self.add_class("tvae")
        self.show_tab()
        widgets.link((explorer, "tab"), (self.tabs, "selected_index"))
        self.tabs.observe(show_errors(self.problem)(self.show_tab), "selected_index")

    def show_tab(self, change: object = None) -> None:
        """Make or draw the panel of the tab that is open."""
        place = self.tabs.selected_index
        for other, panel in self.panels.items():
            panel.visible = other == place
        if place in self.panels:
            self.panels[place].refresh()
        else:
            self.panels[place] = list(TABS.values())[place](self.explorer)
            self.tabs.children[place].children = [self.panels[place]]


def main() -> None:
    """Say which run is opened, train one if there is none, and show the explorer in the browser (voila).

    The options of the command are those of voila, such as `--no-browser`.
    """
    open_explorer(["tvae_Lpartial_mnist"], "quick")
    notebook = str(NOTEBOOKS / "explore.ipynb")
    print("The browser shows it in some seconds. Ctrl-C ends it.", flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "tvae_core.explorer.serve", notebook, *sys.argv[1:]])


if __name__ == "__main__":
    main()
