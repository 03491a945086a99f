import { Page } from '~/shared/ui/page';

export function InvocationsPage() {
  return <Page title="Invocations">{null}</Page>;
}
