"""The panel of single capsules: in each small picture one capsule is rolled, and all others stand still."""

import ipywidgets as widgets
import torch

from tvae_core.explorer.parts import PictureButtons
from tvae_core.explorer.pixels import signed
from tvae_core.explorer.state import ExplorerPanel, ExplorerState, name_capsules

COLUMNS = 9


class CapsulesPanel(ExplorerPanel):
    """Click capsules to roll them and no others, in every tab; the last one clicked is shown as the ring."""

    def __init__(self, explorer: ExplorerState):
        super().__init__(explorer)
        most = max(run.exp.n_caps for run in explorer.runs)
        self.grid = PictureButtons(most, COLUMNS, self.guard(self.pick))
        for capsule, button in enumerate(self.grid.buttons):
            button.description = str(capsule)
        self.grid.add_class("tvae-capsules")
        self.every = widgets.Button(description="Roll all capsules")
        self.apart = widgets.ToggleButton(
            description="Show what changes, magnified", layout={"width": "230px"}
        )
        self.arrange([self.every, self.apart, self.words], self.problem, self.grid)
        self.begin()
        self.apart.observe(self.guard(self.refresh), "value")
        self.every.on_click(self.guard(lambda _: self.roll_only(None)))

    def draw(self) -> None:
        roll = self.explorer.roll
        c = len(roll.t)
        key = roll.sequence, roll.shift, roll.capsules, self.apart.value
        if self._drawn.get(self.grid) != key:
            self.draw_capsules(c)
            self._drawn[self.grid] = key
        by, moving = signed(roll.shift, 2), name_capsules(roll.capsules)
        self.words.value = (
            f"Each picture: frame {roll.sequence.exp.anchor} with that capsule alone rolled by {by}. "
            f"Click capsules to roll them alone. The other tabs now roll {moving}."
        )

    def draw_capsules(self, c: int) -> None:
        roll = self.explorer.roll
        alone = torch.cat([roll.sequence.roll_capsules([roll.shift], [capsule]) for capsule in range(c)])
        frames = roll.sequence.decode(alone)
        if self.apart.value:
            change = frames - roll.sequence.decode(roll.sequence.roll_capsules([0.0]))
            frames = 0.5 + 0.5 * change / change.abs().max().clamp(min=0.005)
        self.grid.show(frames, [f"Capsule {i}" for i in range(c)], roll.capsules or ())

    def pick(self, capsule: int) -> None:
        now = self.explorer.roll.capsules
        self.explorer.capsule = capsule
        self.roll_only([capsule] if now is None else sorted({*now} ^ {capsule}) or None)

    def roll_only(self, capsules: list[int] | None) -> None:
        self.explorer.roll = self.explorer.roll.with_capsules(capsules)
