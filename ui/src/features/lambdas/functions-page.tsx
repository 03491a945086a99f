import { Page } from '~/shared/ui/page';

export function FunctionsPage() {
  return <Page title="Functions">{null}</Page>;
}
