import { Page } from '~/shared/ui/page';

export function DeploymentsPage() {
  return <Page title="Deployments">{null}</Page>;
}
