import { Page } from '~/shared/ui/page';

export function EditorPage() {
  return <Page title="Editor">{null}</Page>;
}
