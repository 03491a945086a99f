// Before anything is drawn: the colours that were chosen last, or the system's.
(() => {
  const chosen = localStorage.getItem('sluice-color-scheme');
  const dark = chosen === 'dark' || (chosen !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
})();
