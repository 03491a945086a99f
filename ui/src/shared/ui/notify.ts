import { notifications } from '@mantine/notifications';

import { ApiError } from '~/shared/api/client';

/** Tells in passing that something is done. */
export function done(message: string) {
  notifications.show({ message, color: 'teal', autoClose: 4000 });
}

/** Tells that something failed; stays until it is read. */
export function failed(title: string, error: unknown) {
  const id = error instanceof ApiError && error.requestId ? ` (request ${error.requestId})` : '';
  notifications.show({ title, message: (error instanceof Error ? error.message : String(error)) + id, color: 'red', autoClose: false, role: 'alert' });
}
