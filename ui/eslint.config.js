import js from '@eslint/js';
import hooks from 'eslint-plugin-react-hooks';
import tseslint from 'typescript-eslint';

// Imports run one way: shared <- features <- app. Features do not know each other.
const layers = (files, banned, message) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns: [{ group: banned, message }] }] },
});

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'src/shared/api/schema.d.ts', 'shots', 'test-results', 'playwright-report'] },
  js.configs.recommended,
  {
    files: ['**/*.{ts,tsx}'],
    extends: [tseslint.configs.recommended],
    plugins: { 'react-hooks': hooks },
    rules: {
      ...hooks.configs.recommended.rules,
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
    },
  },
  { files: ['e2e/**'], rules: { 'react-hooks/rules-of-hooks': 'off' } }, // Playwright calls its own function use
  { files: ['public/*.js'], languageOptions: { globals: { localStorage: 'readonly', matchMedia: 'readonly', document: 'readonly' } } },
  { files: ['*.mjs'], languageOptions: { globals: { process: 'readonly', console: 'readonly' } } },
  layers(['src/shared/**'], ['~/features/*', '~/app/*'], 'shared knows neither features nor the app'),
  layers(['src/features/**'], ['~/app/*', '~/features/*'], 'a feature knows shared alone; its own files it imports by ./'),
);
