import { accessible, expect, test } from './fixtures';

const good = 'function lambda(input, callback) { callback(null, 1); }';

test('the list finds a function, deploys it, undeploys it and deletes it', async ({ as, gateway }) => {
  await gateway.lambda('mail_sender', good, { description: 'sends mail' });
  const page = await as('FaaS-Developer', '/functions');
  await expect(page.getByText('mail_sender', { exact: true })).toBeVisible();
  await accessible(page);

  await page.getByRole('textbox', { name: 'Search' }).fill('SENDS mail');
  await expect(page).toHaveURL(/q=SENDS/);
  await expect(page.getByText('hello', { exact: true })).toBeHidden();
  await page.getByRole('textbox', { name: 'Search' }).fill('no such thing');
  await expect(page.getByRole('heading', { name: 'No function matches' })).toBeVisible();
  await page.getByRole('button', { name: 'Clear the search' }).click();

  const row = page.getByRole('listitem').filter({ hasText: 'mail_sender' });
  const menu = async (item: string) => {
    await page.getByRole('button', { name: 'Actions for mail_sender' }).click();
    await page.getByRole('menuitem', { name: item, exact: true }).click();
  };
  await expect(row.getByText('Draft')).toBeVisible();
  await menu('Deploy');
  await expect(row.getByText('Productive')).toBeVisible({ timeout: 20_000 });
  await menu('Undeploy');
  await page.getByRole('dialog').getByRole('button', { name: 'Undeploy' }).click();
  await expect(row.getByText('Draft')).toBeVisible({ timeout: 20_000 });
  await menu('Delete');
  const remove = page.getByRole('dialog').getByRole('button', { name: 'Delete' });
  await expect(remove).toBeDisabled();
  await page.getByLabel('Type mail_sender to go on').fill('mail_sender');
  await remove.click();
  await expect(row).toBeHidden();
});

test('a deployment that fails shows its cause, and what only developers may do says so', async ({ as, gateway }) => {
  const id = await gateway.lambda('broken', good);
  const [broken] = (await gateway.api('FaaS-Developer', 'GET', `/lambdas/${id}`)) as [{ version: number }];
  await gateway.api('FaaS-Developer', 'PUT', `/lambdas/${id}?draft=true`, { version: broken.version, implementation: { code: 'function lambda( {', dependencies: [], environmentVariables: [] } });
  await gateway.api('FaaS-Developer', 'POST', `/deployments/${id}`);
  const page = await as('FaaS-Admin', '/functions?state=Build+Error');
  await expect(page.getByText('Build Error').last()).toBeVisible({ timeout: 20_000 });
  await accessible(page);
  await page.setViewportSize({ width: 360, height: 780 });
  expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
  await page.getByRole('button', { name: 'Actions for broken' }).click();
  await expect(page.getByText('This needs the permission FaaS-Developer')).toBeVisible();
  await expect(page.getByRole('menuitem', { name: 'Delete' })).toBeDisabled();
});

test('a list that cannot be read says why, and is read again', async ({ as, page }) => {
  let broken = true;
  await page.route('**/lambdas', (route) => (broken ? route.fulfill({ status: 500, headers: { 'X-Request-ID': 'r-1' }, json: { errorCode: 'x', errorMsg: 'the store is away' } }) : route.continue()));
  await as('FaaS-Developer', '/functions');
  await expect(page.getByRole('alert')).toContainText('the store is away');
  await expect(page.getByRole('alert')).toContainText('r-1');
  broken = false;
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByText('hello', { exact: true })).toBeVisible();
});

test('a lambda that is called and nothing else: no pages, and why', async ({ as }) => {
  const page = await as('FaaS-Invocation', '/functions');
  await expect(page.getByRole('heading', { name: 'You have no access to this page' })).toBeVisible();
  await accessible(page);
});

test('LPA signs in, and out', async ({ as, gateway }) => {
  const page = await as('LPA', '/');
  await expect(page).toHaveURL(`${gateway.url}/functions`);
  await page.getByRole('button', { name: /Signed in as/ }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in to Sluice' })).toBeVisible();
  await page.goto(`${gateway.url}/functions`);
  await expect(page.getByRole('heading', { name: 'Sign in to Sluice' })).toBeVisible();
});
