"use strict";
(() => {
  const page = document.documentElement;

  // ---- tables: a click on a heading sorts
  const number = (cell) => {
    const text = cell.dataset.v;
    if (text === undefined) return NaN;
    return text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
  };
  const order = (column, isNumber, sign) => (one, other) => {
    const [a, b] = [one.cells[column], other.cells[column]];
    if (!isNumber) return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
    const [x, y] = [number(a), number(b)];
    // Figures that were not measured stay at the end in both orders.
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
    return x === y ? 0 : sign * (x < y ? -1 : 1);
  };
  for (const table of document.querySelectorAll("table")) {
    const headings = [...table.tHead.rows[0].cells];
    if (table.tBodies[0].rows.length < 2) continue;
    headings.forEach((heading, column) => {
      if (!heading.textContent.trim()) return;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const isNumber = heading.classList.contains("num");
        const first = isNumber ? "descending" : "ascending";
        const second = isNumber ? "ascending" : "descending";
        const now = heading.getAttribute("aria-sort") === first ? second : first;
        headings.forEach((item) => item.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", now);
        const body = table.tBodies[0];
        const folded = body.querySelectorAll(".more").length;
        const rows = [...body.rows].sort(order(column, isNumber, now === "ascending" ? 1 : -1));
        rows.forEach((row, place) => row.classList.toggle("more", place >= rows.length - folded));
        body.append(...rows);
      });
    });
  }

  // ---- long tables: the rest of their rows
  for (const button of document.querySelectorAll("button.all")) {
    button.addEventListener("click", () => {
      button.closest(".table").classList.add("open");
      button.remove();
    });
  }

  // ---- layers: what is typed in one table filters all of them, and fades the plots' other points
  const inputs = [...document.querySelectorAll(".filter input")];
  const filter = (text) => {
    const phrase = text.trim().toLowerCase();
    for (const table of document.querySelectorAll(".by-layer")) {
      table.classList.toggle("filtering", phrase !== "");
    }
    for (const row of document.querySelectorAll(".by-layer tbody tr")) {
      row.hidden = !row.cells[0].textContent.toLowerCase().includes(phrase);
    }
    for (const point of document.querySelectorAll("#layers .pt, #operators .pt")) {
      const fades = phrase !== "" && !point.dataset.tip.toLowerCase().includes(phrase);
      point.classList.toggle("off", fades);
    }
  };
  for (const input of inputs) {
    input.addEventListener("input", () => {
      for (const other of inputs) if (other !== input) other.value = input.value;
      filter(input.value);
    });
  }

  // ---- plots: pointing at a mark, or stepping through them with the arrow keys, shows its figures
  const tip = document.getElementById("tip");
  let current = null;
  const hide = () => {
    if (current) current.classList.remove("on");
    current = null;
    tip.hidden = true;
  };
  const show = (mark) => {
    hide();
    current = mark;
    mark.classList.add("on");
    tip.textContent = mark.dataset.tip;
    tip.hidden = false;
    place();
  };
  const place = () => {
    if (!current) return;
    const box = current.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const left = box.left + box.width / 2 - own.width / 2;
    const room = page.clientWidth - own.width - 8;
    tip.style.left = `${Math.max(8, Math.min(left, room))}px`;
    const above = box.top - own.height - 8;
    tip.style.top = `${above > 0 ? above : box.bottom + 8}px`;
  };
  for (const figure of document.querySelectorAll("figure.drawing")) {
    const marks = () => [...figure.querySelectorAll(".pt")].filter((mark) =>
      mark.getClientRects().length > 0 && !mark.classList.contains("off"));
    figure.addEventListener("pointerover", (event) => {
      const mark = event.target.closest(".pt");
      if (mark) show(mark); else hide();
    });
    figure.addEventListener("pointerleave", hide);
    figure.addEventListener("blur", hide);
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") hide();
      if (step === undefined) return;
      const all = marks();
      if (all.length === 0) return;
      event.preventDefault();
      const index = all.indexOf(current);
      show(all[index < 0 ? 0 : (index + step + all.length) % all.length]);
    });
  }
  addEventListener("scroll", place, { passive: true });
})();
