"use strict";
(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  let lit = null;
  const hide = () => {
    tip.hidden = true;
    if (lit) lit.classList.remove("on");
    lit = null;
  };
  const show = (found, event) => {
    hide();
    lit = found.mark;
    lit.classList.add("on");
    tip.textContent = found.text;
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = Math.min(event.clientX + 14, window.innerWidth - box.width - 8);
    const above = event.clientY - box.height - 12;
    tip.style.left = Math.max(8, left) + "px";
    tip.style.top = (above < 8 ? event.clientY + 16 : above) + "px";
  };
  for (const svg of document.querySelectorAll("svg.chart")) {
    // The page shows the titles itself: the browser's own would come late, and twice.
    const marks = [];
    for (const mark of svg.querySelectorAll(".m")) {
      const title = mark.querySelector("title");
      if (title) {
        marks.push({ mark, text: title.textContent, box: null });
        title.remove();
      }
    }
    const nearest = (event) => {
      const matrix = svg.getScreenCTM();
      if (!matrix) return null;
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      let best = null;
      let least = 24 / Math.max(matrix.a, 0.1);
      for (const one of marks) {
        one.box = one.box || one.mark.getBBox();
        const { x, y, width, height } = one.box;
        const dx = Math.max(x - at.x, 0, at.x - x - width);
        const dy = Math.max(y - at.y, 0, at.y - y - height);
        const distance = Math.hypot(dx, dy);
        if (distance <= least) {
          least = distance;
          best = one;
        }
      }
      return best;
    };
    const point = (event) => {
      const found = nearest(event);
      if (found) show(found, event);
      else hide();
    };
    svg.addEventListener("pointermove", point);
    svg.addEventListener("pointerdown", point);
    svg.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse") hide();
    });
  }
  for (const item of document.querySelectorAll(".legend li[data-series]")) {
    const figure = item.closest("figure");
    const set = (on) => {
      figure.classList.toggle("faded", on);
      for (const group of figure.querySelectorAll(".series")) {
        group.classList.toggle("lit", on && group.dataset.series === item.dataset.series);
      }
    };
    item.addEventListener("pointerenter", () => set(true));
    item.addEventListener("pointerleave", () => set(false));
  }
  window.addEventListener("scroll", hide, { passive: true });
})();
