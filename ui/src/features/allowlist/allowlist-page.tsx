import { Page } from '~/shared/ui/page';

export function AllowlistPage() {
  return <Page title="Allowlist">{null}</Page>;
}
