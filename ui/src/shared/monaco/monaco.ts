// Monaco with what a lambda's code needs, and no more: JavaScript with its
// language service, JSON, and all features of the editor itself. Only lazy
// modules import this one.
import 'monaco-editor/features/register.all.js';
import 'monaco-editor/languages/definitions/javascript/register.js';

import * as monaco from 'monaco-editor/editor/editor.api.js';
import EditorWorker from 'monaco-editor/editor/editor.worker.js?worker';
import * as json from 'monaco-editor/languages/features/json/register.js';
import JsonWorker from 'monaco-editor/languages/features/json/json.worker.js?worker';
import * as typescript from 'monaco-editor/languages/features/typescript/register.js';
import TypeScriptWorker from 'monaco-editor/languages/features/typescript/ts.worker.js?worker';

export { json, monaco, typescript };

declare global {
  interface Window {
    MonacoEnvironment?: monaco.Environment;
  }
}

window.MonacoEnvironment = {
  getWorker(_, label) {
    if (label === 'json') return new JsonWorker();
    if (label === 'javascript' || label === 'typescript') return new TypeScriptWorker();
    return new EditorWorker();
  },
};

// A lambda is a CommonJS script without type annotations. What TypeScript would
// say about its types is often wrong for such code; its syntax errors never are.
const javascript = typescript.javascriptDefaults;
javascript.setCompilerOptions({
  target: typescript.ScriptTarget.ESNext,
  module: typescript.ModuleKind.CommonJS,
  moduleResolution: typescript.ModuleResolutionKind.NodeJs,
  allowJs: true,
  checkJs: false,
  allowNonTsExtensions: true,
  esModuleInterop: true,
  lib: ['esnext'],
  types: [],
});
javascript.setDiagnosticsOptions({ noSemanticValidation: true, noSyntaxValidation: false, noSuggestionDiagnostics: true });
javascript.setEagerModelSync(true);
json.jsonDefaults.setDiagnosticsOptions({ validate: true, allowComments: false, enableSchemaRequest: false });

// The grounds are Mantine's, so that the editor does not stand out of its page.
monaco.editor.defineTheme('sluice-light', { base: 'vs', inherit: true, rules: [], colors: { 'editor.background': '#ffffff', 'editorLineNumber.foreground': '#5f6b76' } });
monaco.editor.defineTheme('sluice-dark', { base: 'vs-dark', inherit: true, rules: [], colors: { 'editor.background': '#1f1f1f', 'editorLineNumber.foreground': '#9a9a9a' } });

export type Language = 'javascript' | 'json' | 'plaintext';

/** What all of our editors have in common. */
export const options = {
  automaticLayout: true,
  accessibilitySupport: 'auto',
  fixedOverflowWidgets: true,
  fontSize: 13,
  lineNumbersMinChars: 3,
  minimap: { enabled: false },
  padding: { top: 8, bottom: 8 },
  scrollBeyondLastLine: false,
  scrollbar: { alwaysConsumeMouseWheel: false },
  stickyScroll: { enabled: false },
  tabSize: 2,
  unicodeHighlight: { ambiguousCharacters: true },
  wordBasedSuggestions: 'off',
} satisfies monaco.editor.IEditorOptions & monaco.editor.IGlobalEditorOptions;

/** Nothing moves for who asked their system for that. */
export function still(): monaco.editor.IEditorOptions {
  return matchMedia('(prefers-reduced-motion: reduce)').matches ? { cursorBlinking: 'solid', cursorSmoothCaretAnimation: 'off', smoothScrolling: false } : { cursorBlinking: 'blink' };
}

let serial = 0;

/** A name for a model that no other one has. Where it lies decides from where require finds packages. */
export function modelUri(language: Language): monaco.Uri {
  return monaco.Uri.parse(`file:///lambda/${++serial}/index.${{ javascript: 'js', json: 'json', plaintext: 'txt' }[language]}`);
}
