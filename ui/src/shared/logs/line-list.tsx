import { Text, UnstyledButton } from '@mantine/core';
import { IconChevronDown, IconChevronRight } from '@tabler/icons-react';
import { useVirtualizer } from '@tanstack/react-virtual';
import { useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from 'react';

import { absolute } from '~/shared/ui/time';

import { JsonTree } from './json-tree';
import { groupLines, idOf, levels, type Group, type Line } from './lines';
import classes from './logs.module.css';
import { LevelMark } from './marks';
import { moment, spell } from './when';

interface Props<L extends Line> {
  lines: readonly L[];
  /** Names the list for who cannot see it. */
  label: string;
  height: number | string;
  /** Shows the lines of each call together. */
  grouped?: boolean;
  /** Times are told as those after this one. */
  since?: number;
  /** A word at the end of a line, or of a call. */
  aside?: (line: L) => string;
  /** What else there is to an unfolded line, or to an unfolded call. */
  more?: (line: L) => ReactNode;
  ofGroup?: (group: Group<L>) => ReactNode;
  /** Called when the end comes near; has to bear being called again. */
  onEnd?: () => void;
  /** Told whether the first line is in sight. */
  onTop?: (atTop: boolean) => void;
  /** A change of it leads back to the first line. */
  topKey?: unknown;
  footer?: ReactNode;
}

type Item<L extends Line> = { kind: 'line'; line: L; within?: Group<L> } | { kind: 'group'; group: Group<L> } | { kind: 'footer' };

/** Log lines, of which only those in sight are drawn: 50 000 scroll as 50 do. */
export function LineList<L extends Line>(props: Props<L>) {
  const { lines, grouped = false, footer, onEnd, onTop } = props;
  const box = useRef<HTMLDivElement>(null);
  const [open, setOpen] = useState<ReadonlySet<unknown>>(new Set());
  const groups = useMemo(() => (grouped ? groupLines(lines) : undefined), [grouped, lines]);
  const items = useMemo(() => {
    const all: Item<L>[] = [];
    if (groups) {
      for (const group of groups) {
        all.push({ kind: 'group', group });
        // A call reads from its first line on, wherever the newest stand.
        if (open.has(group.key)) for (const line of [...group.lines].sort((a, b) => a.timestamp - b.timestamp)) all.push({ kind: 'line', line, within: group });
      }
    } else for (const line of lines) all.push({ kind: 'line', line });
    if (footer) all.push({ kind: 'footer' });
    return all;
  }, [groups, lines, open, footer]);

  // eslint-disable-next-line react-hooks/incompatible-library -- what it returns goes to nothing that is memoized
  const virtual = useVirtualizer({
    count: items.length,
    getScrollElement: () => box.current,
    estimateSize: (i) => (items[i]?.kind === 'group' ? 37 : 33),
    getItemKey: (i) => {
      const item = items[i];
      return item?.kind === 'line' ? idOf(item.line) : item?.kind === 'group' ? item.group.key : 'footer';
    },
    overscan: 12,
  });
  const seen = virtual.getVirtualItems();
  const last = seen.at(-1)?.index ?? 0;
  const atTop = (virtual.scrollOffset ?? 0) < 8;

  useEffect(() => {
    if (items.length && last >= items.length - 60) onEnd?.();
  }, [last, items.length, onEnd]);
  useEffect(() => onTop?.(atTop), [atTop, onTop]);
  useEffect(() => {
    box.current?.scrollTo({ top: 0 });
  }, [props.topKey]);

  const toggle = (what: unknown) => {
    const next = new Set(open);
    if (!next.delete(what)) next.add(what);
    setOpen(next);
  };
  const keys = (e: KeyboardEvent<HTMLDivElement>) => {
    const row = (e.target as HTMLElement).closest<HTMLElement>('[data-index]');
    const at = row && (e.target as HTMLElement).matches('[data-row]') ? Number(row.dataset.index) : -1;
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: items.length - 1 }[e.key];
    if (at < 0 || to === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    const index = Math.max(0, Math.min(items.length - 1, to));
    virtual.scrollToIndex(index);
    requestAnimationFrame(() => requestAnimationFrame(() => box.current?.querySelector<HTMLElement>(`[data-index="${index}"] [data-row]`)?.focus()));
  };

  return (
    <div ref={box} className={classes.list} style={{ height: props.height }} tabIndex={0} role="group" aria-label={props.label} onKeyDown={keys}>
      <div role="list" style={{ height: virtual.getTotalSize(), position: 'relative' }}>
        {seen.map((v) => {
          const item = items[v.index];
          if (!item) return null;
          return (
            <div
              key={v.key}
              role="listitem"
              aria-setsize={items.length}
              aria-posinset={v.index + 1}
              ref={virtual.measureElement}
              data-index={v.index}
              className={classes.item}
              style={{ transform: `translateY(${v.start}px)` }}
            >
              {item.kind === 'footer' ? (
                footer
              ) : item.kind === 'group' ? (
                <GroupRow {...props} group={item.group} opened={open.has(item.group.key)} toggle={() => toggle(item.group.key)} />
              ) : (
                <LineRow {...props} {...(item.within && { since: item.within.from })} within={!!item.within} line={item.line} opened={open.has(item.line)} toggle={() => toggle(item.line)} />
              )}
            </div>
          );
        })}
      </div>
    </div>
  );
}

function LineRow<L extends Line>({ line, opened, toggle, aside, more, since, within }: Props<L> & { line: L; opened: boolean; toggle: () => void; within: boolean }) {
  const extras = line.extras.length;
  const word = within ? '' : aside?.(line);
  return (
    <div className={within ? classes.inGroup : undefined}>
      <UnstyledButton data-row className={classes.row} aria-expanded={opened} onClick={toggle}>
        {opened ? <IconChevronDown size={14} aria-hidden /> : <IconChevronRight size={14} aria-hidden />}
        <time className={classes.time} dateTime={new Date(line.timestamp).toISOString()} title={absolute(new Date(line.timestamp))}>
          {since === undefined ? moment(line.timestamp) : `+${spell(Math.max(0, line.timestamp - since))}`}
        </time>
        <LevelMark level={line.level} />
        <span className={classes.message}>{line.message || <i>(empty message)</i>}</span>
        <span className={classes.aside}>
          {extras > 0 && `${extras} ${extras === 1 ? 'extra' : 'extras'}`}
          {extras > 0 && word && ' · '}
          {word}
        </span>
      </UnstyledButton>
      {opened && (
        <div className={classes.more}>
          {extras > 0 ? (
            <JsonTree value={line.extras} label="Extras" unfolded={2} />
          ) : (
            <Text size="xs" c="dimmed">
              No extras
            </Text>
          )}
          {more?.(line)}
        </div>
      )}
    </div>
  );
}

function GroupRow<L extends Line>({ group, opened, toggle, aside, ofGroup }: Props<L> & { group: Group<L>; opened: boolean; toggle: () => void }) {
  const counts = levels.flatMap((level) => {
    const n = group.lines.filter((l) => l.level === level).length;
    return n ? [`${n} ${level}`] : [];
  });
  return (
    <>
      <UnstyledButton data-row className={classes.groupRow} aria-expanded={opened} onClick={toggle}>
        {opened ? <IconChevronDown size={14} aria-hidden /> : <IconChevronRight size={14} aria-hidden />}
        <time className={classes.time} dateTime={new Date(group.from).toISOString()} title={absolute(new Date(group.from))}>
          {moment(group.from)}
        </time>
        <LevelMark level={group.worst} />
        <span className={classes.message}>{group.requestID}</span>
        <span className={classes.aside}>
          {counts.join(', ')}
          {aside && group.lines[0] && aside(group.lines[0]) && ` · ${aside(group.lines[0])}`}
        </span>
      </UnstyledButton>
      {opened && ofGroup?.(group)}
    </>
  );
}
