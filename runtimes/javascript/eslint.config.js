import js from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist', 'node_modules'] },
  js.configs.recommended,
  {
    files: ['src/**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      // Iterators and array methods are user code's to replace; indices are not.
      '@typescript-eslint/prefer-for-of': 'off',
      // Checked indices would cost more than they tell in a decoder.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Assertions of generics that only name the type are how the built-ins are typed.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
    },
  },
  {
    files: ['src/primordials.ts', 'src/tunnel.ts'],
    // Taking methods from their objects is what this file is for.
    rules: { '@typescript-eslint/unbound-method': 'off' },
  },
  {
    files: ['test/**/*.ts'],
    extends: [tseslint.configs.recommended],
    rules: { '@typescript-eslint/no-explicit-any': 'off' },
  },
  {
    files: ['templates/*.js'],
    languageOptions: { sourceType: 'commonjs', globals: { console: 'readonly', process: 'readonly' } },
    // The runtime calls lambda, and says what it may be called with.
    rules: { 'no-unused-vars': ['error', { varsIgnorePattern: '^lambda$', args: 'none' }] },
  },
  {
    files: ['*.mjs', '*.js'],
    languageOptions: { globals: { process: 'readonly' } },
  },
);
