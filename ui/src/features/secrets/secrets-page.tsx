import { Page } from '~/shared/ui/page';

export function SecretsPage() {
  return <Page title="Secrets">{null}</Page>;
}
