// Puts a part of a page as it is now in the place of what it was, so that who is in it stays
// where they are: what can be scrolled is kept with what it holds exchanged, a link has the focus
// again. What would lose what somebody is doing is left as it is: what is typed, is selected, or
// has a button pressed on it.
"use strict";

const renewPart = (() => {
  let pressed = null;
  document.addEventListener("pointerdown", (event) => (pressed = event.target), true);
  for (const end of ["pointerup", "pointercancel"]) {
    // The click comes right after it, and is meant for what was pressed.
    document.addEventListener(end, () => setTimeout(() => (pressed = null)), true);
  }

  const isBusy = (part) => {
    const chosen = getSelection();
    if (pressed && part.contains(pressed)) return true;
    if (chosen.type === "Range" && chosen.containsNode(part, true)) return true;
    const held = document.activeElement;
    return part.contains(held) && held.matches("input, select, textarea");
  };

  const regions = (part) =>
    [part, ...part.querySelectorAll('[tabindex="0"]')].filter((one) => one.matches('[tabindex="0"]'));

  // The one of `now` that stands for `held` of `part`: it leads to the same, or says the same.
  const twin = (held, part, now) => {
    const place = regions(part).indexOf(held);
    if (place >= 0) return regions(now)[place];
    for (const key of [(one) => one.getAttribute("href") ?? one, (one) => one.textContent]) {
      const alike = (whole) =>
        [...whole.querySelectorAll(held.localName)].filter((one) => key(one) === key(held));
      const found = alike(now)[alike(part).indexOf(held)] ?? alike(now)[0];
      if (found) return found;
    }
    return regions(now)[0];
  };

  const dress = (one, now) => {
    for (const { name } of [...one.attributes]) if (!now.hasAttribute(name)) one.removeAttribute(name);
    for (const { name, value } of now.attributes) one.setAttribute(name, value);
  };

  // A region that has the focus stays in the page: taken out of it, it would lose the focus.
  const keep = (region, part, other, now) => {
    if (region !== part) {
      const [before, after] = [[], []];
      let side = before;
      for (const one of [...now.childNodes]) {
        if (one === other) side = after;
        else side.push(one);
      }
      for (const one of [...part.childNodes]) if (one !== region) one.remove();
      region.before(...before);
      region.after(...after);
      dress(part, now);
    }
    dress(region, other);
    region.replaceChildren(...other.childNodes);
    return part;
  };

  const swap = (part, held, other, now) => {
    const scrolled = regions(part).map((one) => [one.scrollLeft, one.scrollTop]);
    part.replaceWith(now);
    for (const [place, one] of regions(now).entries()) {
      if (scrolled[place]) [one.scrollLeft, one.scrollTop] = scrolled[place];
    }
    if (held && other) other.focus({ preventScroll: true });
    return now;
  };

  // What is in the page afterwards; nothing where it was left as it is.
  return (part, fresh) => {
    if (isBusy(part)) return null;
    const now = document.adoptNode(fresh);
    const held = part.contains(document.activeElement) ? document.activeElement : null;
    const other = held && twin(held, part, now);
    const isKept = other && other.matches('[tabindex="0"]') && regions(part).includes(held);
    if (isKept && (held === part ? other === now : held.parentNode === part && other.parentNode === now)) {
      return keep(held, part, other, now);
    }
    return swap(part, held, other, now);
  };
})();
