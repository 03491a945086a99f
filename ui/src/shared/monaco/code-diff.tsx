import { useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef } from 'react';

import type { CodeDiffProps } from './index';
import { modelUri, monaco, options, still } from './monaco';

/** The lazy half of CodeDiff. */
export default function CodeDiff({ original, modified, language, height = 360, ariaLabel }: CodeDiffProps) {
  const place = useRef<HTMLDivElement>(null);
  const models = useRef<monaco.editor.IDiffEditorModel>(null);
  const texts = useRef({ original, modified });
  const scheme = useComputedColorScheme('light');

  useEffect(() => {
    const made = monaco.editor.createDiffEditor(place.current!, {
      ...options,
      ...still(),
      readOnly: true,
      originalEditable: false,
      domReadOnly: true,
      tabFocusMode: true,
      renderSideBySide: true,
      useInlineViewWhenSpaceIsLimited: true,
      renderSideBySideInlineBreakpoint: 760,
      ignoreTrimWhitespace: false,
      renderMarginRevertIcon: false,
      hideUnchangedRegions: { enabled: true },
      lightbulb: { enabled: monaco.editor.ShowLightbulbIconMode.Off },
      originalAriaLabel: `${ariaLabel}, before`,
      modifiedAriaLabel: `${ariaLabel}, after`,
    });
    const both = {
      original: monaco.editor.createModel(texts.current.original, language, modelUri(language)),
      modified: monaco.editor.createModel(texts.current.modified, language, modelUri(language)),
    };
    models.current = both;
    made.setModel(both);
    return () => {
      models.current = null;
      made.dispose();
      both.original.dispose();
      both.modified.dispose();
    };
  }, [language, ariaLabel]);

  useEffect(() => {
    texts.current = { original, modified };
    for (const side of ['original', 'modified'] as const) {
      const model = models.current?.[side];
      if (model && model.getValue() !== texts.current[side]) model.setValue(texts.current[side]);
    }
  }, [original, modified]);

  useEffect(() => {
    monaco.editor.setTheme(scheme === 'dark' ? 'sluice-dark' : 'sluice-light');
  }, [scheme]);

  return (
    <div
      ref={place}
      role="group"
      aria-label={ariaLabel}
      style={{ height, border: '1px solid var(--mantine-color-default-border)', borderRadius: 'var(--mantine-radius-sm)', overflow: 'hidden' }}
    />
  );
}
