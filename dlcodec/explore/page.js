
{
  const find = (id) => document.getElementById(id);
  const record = JSON.parse(find("record").textContent);
  const stage = find("stage");
  const heat = find("heat");
  const divider = find("divider");
  const slider = find("tau");
  const decoded = [...stage.querySelectorAll("img.decoded")];
  const maps = [...find("maps").querySelectorAll("img")];
  const end = decoded.length - 1;
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const state = { view: "split", reference: record.hasOriginal ? "original" : "base", heat: false, split: 50, playing: !calm.matches, second: false };
  let timer = 0;

  // The right-hand pictures: the original, when there is one, and tau = 1 once more.
  const again = decoded[end].cloneNode();
  const references = { original: stage.querySelector("img.original"), base: again };
  for (const picture of Object.values(references)) if (picture) find("right").firstElementChild.append(picture);
  for (const sheet of stage.querySelectorAll(".sheet")) {
    sheet.style.width = `${record.width}px`;
    sheet.style.height = `${record.height}px`;
  }

  const view = makeView(stage, record.width, record.height, () => (state.view === "pair" ? 2 : 1), (now) => {
    find("zoom").textContent = `${now.percent} %`;
    find("zoom-fit").setAttribute("aria-pressed", now.fitted);
  });

  // The colours of the map, dark to light, as in its legend.
  const COLOURS = [[70, 20, 120], [150, 40, 120], [216, 76, 66], [250, 160, 20], [252, 255, 164]];
  const ramp = Array.from({ length: 256 }, (_, value) => {
    const at = (value / 255) * (COLOURS.length - 1);
    const low = Math.min(Math.floor(at), COLOURS.length - 2);
    return COLOURS[low].map((colour, channel) => colour + (COLOURS[low + 1][channel] - colour) * (at - low));
  });

  async function drawHeat(index) {
    const map = maps[index];
    const context = heat.getContext("2d", { willReadFrequently: true });
    if (!map) return context.clearRect(0, 0, heat.width, heat.height);
    await map.decode();
    if (index !== +slider.value) return undefined;
    heat.width = map.naturalWidth;
    heat.height = map.naturalHeight;
    context.drawImage(map, 0, 0);
    const pixels = context.getImageData(0, 0, heat.width, heat.height);
    for (let i = 0; i < pixels.data.length; i += 4) {
      const value = pixels.data[i];
      [pixels.data[i], pixels.data[i + 1], pixels.data[i + 2]] = ramp[value];
      pixels.data[i + 3] = Math.min(255, value * 3);
    }
    return context.putImageData(pixels, 0, 0);
  }

  const decibels = (value) => (value === null ? "identical" : `${value.toFixed(2)} dB`);

  function showFigures(row) {
    find("to-original").hidden = !record.hasOriginal;
    find("to-original").lastElementChild.textContent = decibels(row.original);
    find("to-base").lastElementChild.textContent = decibels(row.base);
    find("changed").lastElementChild.textContent = `${(100 * row.changed).toFixed(1)} %`;
    find("tau-shown").textContent = row.tau;
    slider.setAttribute("aria-valuetext", `tau ${row.tau}, PSNR to tau 1: ${decibels(row.base)}`);
  }

  function render() {
    const index = +slider.value;
    const row = record.rows[index];
    decoded.forEach((picture, at) => { picture.hidden = at !== index; });
    for (const [name, picture] of Object.entries(references)) if (picture) picture.hidden = name !== state.reference;
    Object.assign(stage.dataset, { view: state.view, shown: state.second ? "right" : "left", heat: state.heat });
    stage.style.setProperty("--split", `${state.split}%`);
    divider.setAttribute("aria-valuenow", Math.round(state.split));
    heat.hidden = find("legend").hidden = !state.heat;
    if (state.heat) drawHeat(index);
    find("left-label").textContent = `τ = ${row.tau}`;
    find("right-label").textContent = state.reference === "base" ? "τ = 1" : "original";
    find("flicker-tools").hidden = state.view !== "flicker";
    find("play").textContent = state.playing ? "Pause" : "Play";
    find("references").hidden = !record.hasOriginal;
    for (const name of ["view", "reference"]) for (const radio of document.getElementsByName(name)) radio.checked = radio.value === state[name];
    find("heat-on").checked = state.heat;
    slider.style.setProperty("--at", end ? index / end : 0);
    showFigures(row);
  }

  // Less than three changes a second, and none by itself for those who asked for reduced motion.
  function schedule() {
    clearInterval(timer);
    if (state.view === "flicker" && state.playing) timer = setInterval(() => set({ second: !state.second }), 600);
  }

  function set(change) {
    const turned = "view" in change || "playing" in change;
    Object.assign(state, change);
    if (state.view !== "flicker") state.second = false;
    render();
    if (turned) schedule();
    if ("view" in change) view.place();
    const held = document.activeElement; // what is hidden now would give the focus to nobody
    if (held !== stage && stage.contains(held) && !held.getClientRects().length) stage.focus({ preventScroll: true, focusVisible: false });
    if ("view" in change || "reference" in change || "heat" in change) {
      find("said").textContent = `${state.view}, against ${find("right-label").textContent}${state.heat ? ", heat map" : ""}`;
    }
  }

  // From elsewhere than the slider, which announces itself.
  function choose(index) {
    slider.value = Math.min(end, Math.max(0, index));
    render();
    find("said").textContent = slider.getAttribute("aria-valuetext");
  }

  const moveDivider = (percent) => set({ split: Math.min(100, Math.max(0, percent)) });
  const swap = () => set({ second: !state.second, playing: false });
  const play = () => set({ playing: !state.playing });

  slider.addEventListener("input", render);
  for (const name of ["view", "reference"]) {
    for (const radio of document.getElementsByName(name)) radio.addEventListener("change", () => set({ [name]: radio.value }));
  }
  find("heat-on").addEventListener("change", (event) => set({ heat: event.target.checked }));
  const clicks = { play, swap, help: () => find("keys").showModal(), close: () => find("keys").close(), "zoom-fit": view.fit };
  Object.assign(clicks, { "zoom-in": () => view.zoomBy(1.5), "zoom-out": () => view.zoomBy(1 / 1.5), "zoom-full": () => view.full() });
  for (const [id, act] of Object.entries(clicks)) find(id).addEventListener("click", act);

  divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    moveDivider((100 * (event.clientX - box.left)) / box.width);
  });

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  // Single letters and signs act on the pictures, while they have the focus, and nowhere else (WCAG 2.1.4).
  const keys = {
    s: () => set({ view: "split" }),
    d: () => set({ view: "pair" }),
    f: () => set({ view: "flicker" }),
    r: () => record.hasOriginal && set({ reference: state.reference === "base" ? "original" : "base" }),
    h: () => set({ heat: !state.heat }),
    x: () => state.view === "flicker" && swap(),
    " ": () => state.view === "flicker" && play(),
    "+": clicks["zoom-in"],
    "=": clicks["zoom-in"],
    "-": clicks["zoom-out"],
    1: () => view.full(),
    0: view.fit,
    "?": clicks.help,
  };

  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || find("keys").open) return;
    const arrow = arrows[event.key];
    const control = event.target.closest("input, button");
    const steers = event.target.matches("[type=radio], [type=range]"); // these have arrow keys of their own
    if (arrow && event.shiftKey) view.moveBy(-60 * arrow[0], -60 * arrow[1]);
    else if (arrow && event.target === divider) moveDivider(state.split + 2 * (arrow[0] - arrow[1]));
    else if (event.target === divider && ["Home", "End"].includes(event.key)) moveDivider(event.key === "End" ? 100 : 0);
    else if (arrow && arrow[0] && !steers) choose(+slider.value + arrow[0]);
    else if (keys[event.key.toLowerCase()] && stage.contains(event.target) && !(event.key === " " && control)) keys[event.key.toLowerCase()]();
    else return;
    event.preventDefault();
  });

  const every = Math.ceil(end / 12);
  record.rows.forEach((row, index) => {
    const tick = document.createElement("span");
    tick.textContent = index === end || (index % every === 0 && end - index >= every) ? row.tau : "";
    find("ticks").append(tick);
  });
  render();
  stage.focus({ preventScroll: true, focusVisible: false });
}
