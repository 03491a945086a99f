import { Page } from '~/shared/ui/page';

export function ReviewPage() {
  return <Page title="Review and deploy">{null}</Page>;
}
