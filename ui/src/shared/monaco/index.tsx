import { Skeleton } from '@mantine/core';
import type { editor as editors } from 'monaco-editor/editor/editor.api.js';
import { lazy, Suspense } from 'react';

import type { Language, monaco } from './monaco';

export interface CodeEditorProps {
  value: string;
  onChange?: (value: string) => void;
  language: Language;
  readOnly?: boolean;
  /** CSS height of the editor together with its hint. */
  height?: number | string;
  ariaLabel: string;
  /** How to leave it by keyboard is said below an editor that can be written in. */
  hint?: boolean;
  /** Called when the editor stands; what it returns is called before it goes. */
  onReady?: (made: { editor: editors.IStandaloneCodeEditor; model: editors.ITextModel; monaco: typeof monaco }) => (() => void) | void;
}

export interface CodeDiffProps {
  original: string;
  modified: string;
  language: Language;
  height?: number | string;
  ariaLabel: string;
}

const LazyEditor = lazy(() => import('./code-editor'));
const LazyDiff = lazy(() => import('./code-diff'));

/** Monaco for one text. It and its workers are fetched when it is first shown. */
export function CodeEditor(props: CodeEditorProps) {
  return (
    <Suspense fallback={<Skeleton height={props.height ?? 320} aria-label={`Loading ${props.ariaLabel}`} />}>
      <LazyEditor {...props} />
    </Suspense>
  );
}

/** What differs between two texts, read only: side by side, or inline where it is narrow. */
export function CodeDiff(props: CodeDiffProps) {
  return (
    <Suspense fallback={<Skeleton height={props.height ?? 360} aria-label={`Loading ${props.ariaLabel}`} />}>
      <LazyDiff {...props} />
    </Suspense>
  );
}
