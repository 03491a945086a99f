import { Button, Group, Modal, Stack, Text, TextInput } from '@mantine/core';
import { useState, type ReactNode } from 'react';

import { RequestId } from './page';

interface Props {
  opened: boolean;
  close: () => void;
  title: string;
  /** What happens, in a sentence. */
  children: ReactNode;
  /** The word on the button. */
  action: string;
  /** Has to be typed before the button works; left out for what can be undone. */
  name?: string;
  /** Does it. What it throws is shown, and the dialog stays. */
  confirm: () => Promise<unknown>;
}

/** Asks before something is destroyed. */
export function Confirm(props: Props) {
  return (
    <Modal opened={props.opened} onClose={props.close} title={props.title} centered>
      {props.opened && <Question {...props} />}
    </Modal>
  );
}

function Question({ close, children, action, name, confirm }: Props) {
  const [typed, setTyped] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>();
  const ready = name === undefined || typed === name;
  const submit = async () => {
    if (!ready || busy) return;
    setBusy(true);
    setError(undefined);
    try {
      await confirm();
      close();
    } catch (e) {
      setError(e);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        void submit();
      }}
    >
      <Stack>
        <Text component="div">{children}</Text>
        {name !== undefined && <TextInput data-autofocus label={`Type ${name} to go on`} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} autoComplete="off" spellCheck={false} />}
        {error !== undefined && (
          <div role="alert">
            <Text c="var(--mantine-color-error)">{error instanceof Error ? error.message : String(error)}</Text>
            <RequestId error={error} />
          </div>
        )}
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>
            Cancel
          </Button>
          <Button type="submit" color="red" disabled={!ready} loading={busy}>
            {action}
          </Button>
        </Group>
      </Stack>
    </form>
  );
}
