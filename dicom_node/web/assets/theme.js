// Before anything is drawn: the theme that this browser chose last, dark without one.
document.documentElement.dataset.theme = localStorage.getItem("theme") === "light" ? "light" : "dark";
