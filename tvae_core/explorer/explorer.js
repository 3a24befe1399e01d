// Names for screen readers and a way out by Tab, which ipywidgets and ipycanvas leave out of their widgets.
const root = this.closest(".tvae"), all = (selector) => root.querySelectorAll(selector);
const name = (element, words, role) => {
  element.ariaLabel = words;
  if (role) element.role = role;
};
const addNames = () => {
  for (const slider of all(".widget-slider")) {
    const words = slider.querySelector("label").textContent;
    name(slider.querySelector(".noUi-handle"), words);
    name(slider.querySelector(".widget-readout"), `${words}, typed`, "textbox");
  }
  for (const play of all(".widget-play")) ["Play or pause", "Stop"].forEach((words, i) => name(play.children[i], words));
  for (const canvas of all(".tvae-tiles canvas")) { // it takes the arrow keys
    name(canvas, canvas.closest(".widget-vbox").querySelector(".tvae-caption").textContent, "application");
  }
  for (const pad of all(".tvae-drawing")) {
    name(pad, "Pad: draw a digit; from the keyboard, upload one", "img");
    pad.tabIndex = -1;
  }
  for (const button of all(".tvae-cells button")) name(button, button.title);
  for (const button of all(".widget-toggle-button, .tvae-cells button")) button.ariaPressed = button.matches(".mod-active, .tvae-chosen");
};
new MutationObserver(addNames).observe(root, { childList: true, subtree: true, attributeFilter: ["class"] });
// ipycanvas keeps every key, Tab too.
root.addEventListener("keydown", (event) => { if (event.key === "Tab") event.stopPropagation(); }, true);
addNames();
