// The part of a stack that is the author's: where this runtime lies on the machine,
// and how it calls user code, is none of theirs.

import { FILE } from './load.ts';
import { includes, slice, split, startsWith } from './primordials.ts';

const MAX_STACK = 16 << 10; // characters

/** The author's part of a stack: without frames of the runtime, and nothing below the author's first. */
export function cleanStack(stack: unknown): string {
  if (typeof stack !== 'string') return '';
  const lines = split(slice(stack, 0, MAX_STACK), '\n');
  let kept = '';
  let end = 0;
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    const isFrame = startsWith(line, '    at ');
    if (isFrame && isOurs(line)) continue;
    kept += i === 0 ? line : `\n${line}`;
    if (!isFrame || includes(line, AUTHORS)) end = kept.length;
  }
  return end === 0 ? kept : slice(kept, 0, end);
}

/** A printed text without the frames of the runtime in it. */
export function withoutOurFrames(text: string): string {
  if (!includes(text, OURS)) return text;
  const lines = split(text, '\n');
  let kept = '';
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    if (isOurs(line) && includes(line, '    at ')) continue;
    kept += i === 0 ? line : `\n${line}`;
  }
  return kept;
}

const AUTHORS = `${FILE}:`;
const OURS = `${__dirname}/`;

function isOurs(line: string): boolean {
  return includes(line, OURS) || includes(line, 'node:internal/');
}
