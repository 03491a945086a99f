import { Page } from '~/shared/ui/page';

export function InvokePage() {
  return <Page title="Invoke your Function">{null}</Page>;
}
