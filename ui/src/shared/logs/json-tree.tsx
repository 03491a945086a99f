import { Button, UnstyledButton } from '@mantine/core';
import { IconChevronDown, IconChevronRight } from '@tabler/icons-react';
import { useState } from 'react';

import classes from './logs.module.css';

const step = 100; // entries that are shown at once
const longText = 2_000;

/** A JSON value that unfolds part by part; only what is unfolded is drawn. */
export function JsonTree({ value, unfolded = 1, label }: { value: unknown; unfolded?: number; label: string }) {
  return (
    <div className={classes.tree} role="group" aria-label={label}>
      <Branch value={value} unfolded={unfolded} />
    </div>
  );
}

function Branch({ name, value, unfolded }: { name?: string; value: unknown; unfolded: number }) {
  const [open, setOpen] = useState(unfolded > 0);
  const [shown, setShown] = useState(step);
  if (typeof value !== 'object' || value === null) {
    return (
      <div className={classes.leaf}>
        <Name name={name} />
        <Scalar value={value} />
      </div>
    );
  }
  const list = Array.isArray(value);
  const keys = Object.keys(value);
  const [left, right] = list ? ['[', ']'] : ['{', '}'];
  if (!keys.length) {
    return (
      <div className={classes.leaf}>
        <Name name={name} />
        <span>{left + right}</span>
      </div>
    );
  }
  const size = list ? `${keys.length} ${keys.length === 1 ? 'entry' : 'entries'}` : `${keys.length} ${keys.length === 1 ? 'key' : 'keys'}`;
  return (
    <div>
      <UnstyledButton className={classes.fold} aria-expanded={open} onClick={() => setOpen(!open)}>
        {open ? <IconChevronDown size={14} aria-hidden /> : <IconChevronRight size={14} aria-hidden />}
        <Name name={name} />
        <span>{left}</span>
        <span className={classes.faint}> {size} </span>
        {!open && <span>{right}</span>}
      </UnstyledButton>
      {open && (
        <div className={classes.children}>
          {keys.slice(0, shown).map((key) => (
            <Branch key={key} name={key} value={(value as Record<string, unknown>)[key]} unfolded={unfolded - 1} />
          ))}
          {keys.length > shown && (
            <Button size="compact-xs" variant="subtle" onClick={() => setShown(shown + step)}>
              Show {Math.min(step, keys.length - shown)} more of {keys.length}
            </Button>
          )}
        </div>
      )}
      {open && <div className={classes.leaf}>{right}</div>}
    </div>
  );
}

function Name({ name }: { name?: string }) {
  return name === undefined ? null : <span className={classes.name}>{name}: </span>;
}

function Scalar({ value }: { value: unknown }) {
  const [whole, setWhole] = useState(false);
  if (typeof value !== 'string') return <span data-kind={value === null ? 'null' : typeof value}>{String(value)}</span>;
  const cut = !whole && value.length > longText;
  return (
    <>
      <span data-kind="string">{JSON.stringify(cut ? value.slice(0, longText) : value)}</span>
      {cut && (
        <Button size="compact-xs" variant="subtle" onClick={() => setWhole(true)}>
          Show all {value.length.toLocaleString()} characters
        </Button>
      )}
    </>
  );
}
