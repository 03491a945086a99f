import { Page } from '~/shared/ui/page';

export function MetricsPage() {
  return <Page title="Metrics">{null}</Page>;
}
