import { Page } from '~/shared/ui/page';

export function PeoplePage() {
  return <Page title="Users and apps">{null}</Page>;
}
