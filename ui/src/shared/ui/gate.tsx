import { Tooltip } from '@mantine/core';
import type { ReactElement } from 'react';
import { cloneElement } from 'react';

import { useMay, type Permission } from '~/shared/session';

/**
 * A control that needs a right: without it, it is there, but disabled, and tells
 * why to pointer and keyboard. Its child takes `disabled` or `data-disabled`.
 */
export function Gate({ needs, children, also }: { needs: Permission; children: ReactElement<Record<string, unknown>>; also?: string }) {
  const may = useMay(needs);
  const reason = may.reason ?? also;
  if (!reason) return children;
  return (
    <Tooltip label={reason} multiline maw={320} events={{ hover: true, focus: true, touch: true }}>
      {cloneElement(children, {
        'data-disabled': true,
        'aria-disabled': true,
        'aria-description': reason,
        onClick: (e: Event) => e.preventDefault(),
      })}
    </Tooltip>
  );
}
