import { Page } from '~/shared/ui/page';

export function VersionsPage() {
  return <Page title="Versions">{null}</Page>;
}
