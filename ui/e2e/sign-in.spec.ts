import { accessible, expect, test } from './fixtures';

test('without a session every page leads to the sign-in, and back', async ({ page, gateway, as }) => {
  await page.goto(`${gateway.url}/functions`);
  await expect(page.getByRole('heading', { name: 'Sign in to Sluice' })).toBeVisible();
  await accessible(page);
  await as('FaaS-Developer', '/functions');
  await expect(page).toHaveURL(`${gateway.url}/functions`);
  await expect(page.getByRole('heading', { level: 1, name: 'Functions' })).toBeVisible();
});
