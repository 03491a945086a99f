import { Page } from '~/shared/ui/page';

export function LogsPage() {
  return <Page title="Logs">{null}</Page>;
}
