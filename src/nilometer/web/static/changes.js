// Looks again while something is being judged, and puts what was found in its place.
"use strict";

(() => {
  const EVERY_MS = 700;

  async function look() {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.status >= 500) throw new Error(`status ${answer.status}`); // busy: later
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      let isLeft = false;
      for (const part of document.querySelectorAll("[data-judged][id], [data-live][id]")) {
        const now = page.getElementById(part.id);
        if (now && !now.isEqualNode(part) && !renewPart(part, now)) isLeft = true;
      }
      if (isLeft || page.querySelector("[data-pending]")) setTimeout(look, EVERY_MS);
    } catch {
      setTimeout(look, 5 * EVERY_MS);
    }
  }

  if (document.querySelector("[data-pending]")) setTimeout(look, EVERY_MS);
})();
