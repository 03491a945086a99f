import { Page } from '~/shared/ui/page';

export function SchedulesPage() {
  return <Page title="Schedules">{null}</Page>;
}
