import { createTheme, localStorageColorSchemeManager } from '@mantine/core';

// Shade 8 of teal on white, and 4 on the dark ground, keep a contrast of 4.5:1 and more.
export const theme = createTheme({
  primaryColor: 'teal',
  primaryShade: { light: 9, dark: 8 },
  autoContrast: true,
  defaultRadius: 'sm',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
});

/** The key that public/scheme.js reads before anything is drawn. */
export const colorSchemes = localStorageColorSchemeManager({ key: 'sluice-color-scheme' });
