"use strict";
// Before anything is drawn: the theme that was chosen, or none, and then the system's holds.
try {
  const theme = (JSON.parse(localStorage.getItem("chatwright")) || {}).theme;
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // without storage, or with something else in it, the system's
}
