// Applies the chosen theme before the first paint. A classic script, because modules run too late for that.
(function () {
  try {
    const theme = localStorage.getItem("twinlens.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage can be forbidden; the page then follows the system's colours.
  }
})();
