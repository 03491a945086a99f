import { Page } from '~/shared/ui/page';

export function ActivitiesPage() {
  return <Page title="Activities">{null}</Page>;
}
