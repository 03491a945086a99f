import { Page } from '~/shared/ui/page';

export function CreatePage() {
  return <Page title="Create a function">{null}</Page>;
}
