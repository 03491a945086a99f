import { Page } from '~/shared/ui/page';

export function HomePage() {
  return <Page title="Home">{null}</Page>;
}
