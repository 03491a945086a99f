import { Box, Text, useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';

import type { CodeEditorProps } from './index';
import { modelUri, monaco, options, still } from './monaco';

/** The lazy half of CodeEditor. */
export default function CodeEditor({ value, onChange, language, readOnly = false, height = 320, ariaLabel, onReady, hint = true }: CodeEditorProps) {
  const place = useRef<HTMLDivElement>(null);
  const editor = useRef<monaco.editor.IStandaloneCodeEditor>(null);
  // What the model holds, as far as the owner of `value` knows.
  const known = useRef(value);
  const latest = useRef({ onChange, onReady });
  const scheme = useComputedColorScheme('light');
  useEffect(() => {
    latest.current = { onChange, onReady };
  });

  useEffect(() => {
    const model = monaco.editor.createModel(known.current, language, modelUri(language));
    const made = monaco.editor.create(place.current!, { ...options, ...still(), model });
    editor.current = made;
    const listening = model.onDidChangeContent(() => {
      const now = model.getValue();
      if (now === known.current) return;
      known.current = now;
      latest.current.onChange?.(now);
    });
    const end = latest.current.onReady?.({ editor: made, model, monaco });
    return () => {
      end?.();
      listening.dispose();
      editor.current = null;
      made.dispose();
      model.dispose();
    };
  }, [language]);

  useEffect(() => {
    editor.current?.updateOptions({ readOnly, domReadOnly: readOnly, tabFocusMode: readOnly, ariaLabel, renderLineHighlight: readOnly ? 'none' : 'line' });
  }, [readOnly, ariaLabel, language]);

  useEffect(() => {
    monaco.editor.setTheme(scheme === 'dark' ? 'sluice-dark' : 'sluice-light');
  }, [scheme]);

  // A value from outside replaces the text as one step that can be undone.
  useEffect(() => {
    const model = editor.current?.getModel();
    if (!model || value === known.current) return;
    known.current = value;
    model.pushStackElement();
    model.pushEditOperations([], [{ range: model.getFullModelRange(), text: value }], () => null);
    model.pushStackElement();
  }, [value]);

  return (
    <Box style={{ display: 'flex', flexDirection: 'column', height, minHeight: 0 }}>
      <div ref={place} style={{ flex: 1, minHeight: 0, border: '1px solid var(--mantine-color-default-border)', borderRadius: 'var(--mantine-radius-sm)', overflow: 'hidden' }} />
      {hint && !readOnly && (
        <Text size="xs" c="dimmed" mt={4}>
          {/Mac/.test(navigator.userAgent) ? '⌃⇧M' : 'Ctrl+M'} lets Tab leave the editor
        </Text>
      )}
    </Box>
  );
}
