import { createTheme, localStorageColorSchemeManager, type CSSVariablesResolver } from '@mantine/core';

// White on the lighter shades of teal has less than 4.5:1.
export const theme = createTheme({
  primaryColor: 'teal',
  primaryShade: 9,
  autoContrast: true,
  defaultRadius: 'sm',
  cursorType: 'pointer',
  respectReducedMotion: true,
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
});

/** The key that public/scheme.js reads before anything is drawn. */
export const colorSchemes = localStorageColorSchemeManager({ key: 'sluice-color-scheme' });

// Mantine's own grey of secondary text has 3.3:1 on white.
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: { '--mantine-color-dimmed': '#5c636a', '--mantine-color-error': '#c92a2a', '--mantine-color-placeholder': '#6b7278' },
  dark: { '--mantine-color-dimmed': '#a6acb2', '--mantine-color-error': '#ff8787' },
});
