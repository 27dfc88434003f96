"use strict";

// One zoom and one position for every picture on the stage: nothing can get out of step.
// The position is the point of the picture, in its pixels, that is in the middle of a pane.
function makeView(stage, width, height, paneCount, changed) {
  const fingers = new Map();
  let scale = 1;
  let x = width / 2;
  let y = height / 2;
  let fitted = true;
  let last = null;

  // Where a pane begins and how large it is, in CSS pixels; panes are side by side, or stacked on a tall screen.
  function panes() {
    const count = paneCount();
    const { clientWidth: w, clientHeight: h } = stage;
    const stacked = count > 1 && Math.min(w / width, h / 2 / height) > Math.min(w / 2 / width, h / height);
    const size = { w: stacked ? w : w / count, h: stacked ? h / count : h };
    return { ...size, stacked, left: stacked ? 0 : size.w, top: stacked ? size.h : 0 };
  }

  const fitting = (pane) => Math.min(pane.w / width, pane.h / height);

  // From the whole picture, or one pixel to one of the screen, up to squares that can be counted.
  function bound(wanted, pane) {
    const whole = fitting(pane);
    return Math.min(Math.max(wanted, Math.min(whole, 1 / devicePixelRatio)), Math.max(32, 4 * whole));
  }

  function keepInside(centre, side, room) {
    const half = room / 2 / scale;
    return side <= 2 * half ? side / 2 : Math.min(side - half, Math.max(half, centre));
  }

  function place() {
    if (!stage.clientWidth || !stage.clientHeight) return; // it is not shown: nothing fits into it
    const pane = panes();
    scale = fitted ? fitting(pane) : bound(scale, pane);
    x = keepInside(x, width, pane.w);
    y = keepInside(y, height, pane.h);
    const sheets = stage.querySelectorAll(".sheet");
    sheets.forEach((sheet, index) => {
      const second = index && paneCount() > 1;
      const left = pane.w / 2 - x * scale + (second ? pane.left : 0);
      const top = pane.h / 2 - y * scale + (second ? pane.top : 0);
      sheet.style.transform = `translate(${left}px, ${top}px) scale(${scale})`;
    });
    stage.classList.toggle("pixelated", scale * devicePixelRatio >= 3);
    stage.classList.toggle("stacked", pane.stacked);
    changed({ percent: Math.round(100 * scale * devicePixelRatio), fitted });
  }

  // Zoom so that what is under a point of the stage stays there; without a point, the middle stays.
  function zoomTo(wanted, point) {
    const pane = panes();
    const next = bound(wanted, pane);
    if (point) {
      const box = stage.getBoundingClientRect();
      const second = paneCount() > 1;
      let dx = point.clientX - box.left;
      let dy = point.clientY - box.top;
      if (second && pane.left && dx >= pane.left) dx -= pane.left;
      if (second && pane.top && dy >= pane.top) dy -= pane.top;
      x += (dx - pane.w / 2) * (1 / scale - 1 / next);
      y += (dy - pane.h / 2) * (1 / scale - 1 / next);
    }
    scale = next;
    fitted = false;
    place();
  }

  const zoomBy = (factor, point) => zoomTo(scale * factor, point);

  function moveBy(dx, dy) {
    x -= dx / scale;
    y -= dy / scale;
    place();
  }

  function fit() {
    fitted = true;
    place();
  }

  const full = (point) => zoomTo(1 / devicePixelRatio, point);

  // The middle of all fingers and their spread: one finger moves, two also zoom.
  function grip() {
    const points = [...fingers.values()];
    const clientX = points.reduce((sum, p) => sum + p.clientX, 0) / points.length;
    const clientY = points.reduce((sum, p) => sum + p.clientY, 0) / points.length;
    const spread = points.length > 1 ? Math.hypot(points[0].clientX - points[1].clientX, points[0].clientY - points[1].clientY) : 0;
    return { clientX, clientY, spread };
  }

  stage.addEventListener("pointerdown", (event) => {
    if (event.button || event.target.closest("button, #divider")) return;
    stage.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    last = grip();
    stage.classList.add("held");
  });

  stage.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, event);
    const now = grip();
    if (now.spread && last.spread) zoomBy(now.spread / last.spread, now);
    moveBy(now.clientX - last.clientX, now.clientY - last.clientY);
    last = now;
  });

  for (const kind of ["pointerup", "pointercancel"]) {
    stage.addEventListener(kind, (event) => {
      if (fingers.delete(event.pointerId) && fingers.size) last = grip();
      stage.classList.toggle("held", fingers.size > 0);
    });
  }

  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
      zoomBy(Math.exp(-Math.max(-200, Math.min(200, pixels)) * (event.ctrlKey ? 0.01 : 0.002)), event);
    },
    { passive: false },
  );

  stage.addEventListener("dblclick", (event) => {
    if (event.target.closest("button, #divider")) return;
    if (fitted) zoomTo(Math.max(4 / devicePixelRatio, scale * 2.5), event);
    else fit();
  });

  new ResizeObserver(place).observe(stage);
  return { place, zoomBy, full, fit, moveBy };
}
