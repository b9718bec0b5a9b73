// The bars of durations: to drag across several of them chooses all that they stand for.
"use strict";

(() => {
  let first = null;
  let last = null;
  let dragged = false;

  const barAt = (event) => {
    const under = document.elementFromPoint(event.clientX, event.clientY);
    const item = under && under.closest("[data-brush] li");
    return item && item.querySelector("a");
  };

  const chosen = () => {
    const bars = [...document.querySelectorAll("[data-brush] a")];
    const ends = [bars.indexOf(first), bars.indexOf(last)].sort((a, b) => a - b);
    return bars.slice(ends[0], ends[1] + 1);
  };

  const show = () => {
    const now = first ? new Set(chosen()) : new Set();
    for (const bar of document.querySelectorAll("[data-brush] a")) {
      bar.classList.toggle("brushed", now.has(bar));
    }
  };

  document.addEventListener("pointerdown", (event) => {
    const bar = event.button === 0 && barAt(event);
    if (!bar) return;
    first = last = bar;
    dragged = false;
  });
  document.addEventListener("pointermove", (event) => {
    if (first && !first.isConnected) first = last = null; // renewed meanwhile
    const bar = first && barAt(event);
    if (!bar || bar === last) return;
    last = bar;
    dragged = true;
    show();
  });
  document.addEventListener("pointerup", () => {
    if (first && dragged) {
      const bars = chosen();
      const url = new URL(location.href);
      url.searchParams.set("min_duration", bars[0].dataset.from);
      url.searchParams.set("max_duration", bars[bars.length - 1].dataset.until);
      location.assign(url);
    }
    first = last = null;
  });
  document.addEventListener("pointercancel", () => {
    first = last = null;
    show();
  });
  // What was dragged is no click on the bar where it ended; and a link is not dragged itself.
  document.addEventListener("click", (event) => {
    if (dragged && event.target.closest("[data-brush]")) event.preventDefault();
    dragged = false;
  });
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest && event.target.closest("[data-brush]")) event.preventDefault();
  });
})();
