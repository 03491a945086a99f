import AxeBuilder from '@axe-core/playwright';
import { test as base, expect, type Page } from '@playwright/test';

import { Gateway, type Role } from './gateway';

/** Tests share one gateway of their worker; each signs in by itself. */
export const test = base.extend<{ as: (role: Role, path?: string) => Promise<Page>; quiet: void }, { gateway: Gateway }>({
  gateway: [
    // eslint-disable-next-line no-empty-pattern
    async ({}, use) => {
      const gateway = await Gateway.start();
      await use(gateway);
      await gateway.stop();
    },
    { scope: 'worker', timeout: 90_000 },
  ],
  // Signs the page in through the authorization server, and leads it to a path.
  as: async ({ page, gateway }, use) => {
    await use(async (role, path = '/') => {
      await signIn(page, gateway, role, path);
      return page;
    });
  },
  // No page may ask another host for anything, break, or be refused something by its own policy.
  quiet: [
    async ({ page, gateway }, use) => {
      const faults: string[] = [];
      page.on('request', (r) => {
        const { origin, protocol } = new URL(r.url());
        if (protocol.startsWith('http') && origin !== new URL(gateway.url).origin) faults.push(`asked another host: ${r.url()}`);
      });
      page.on('pageerror', (e) => faults.push(`page error: ${e.message}`));
      page.on('console', (m) => {
        if (m.type() === 'error' && /Content Security Policy|Warning:|React/.test(m.text())) faults.push(`console: ${m.text()}`);
      });
      await use();
      expect(faults).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** Goes the way that a person goes: the account, then user and password at the authorization server. */
export async function signIn(page: Page, gateway: Gateway, role: Role, path = '/') {
  const { username, password } = gateway.user(role);
  await page.goto(gateway.url + path);
  await page.getByLabel('Account').fill(gateway.account);
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.locator('input[name=username]').fill(username);
  await page.locator('input[name=password]').fill(password);
  await page.locator('button[type=submit]').click();
  await page.waitForURL((url) => !url.pathname.startsWith('/sentinel') && !url.pathname.startsWith('/ui/'));
}

/** No serious or critical fault of accessibility in either colour scheme. */
export async function accessible(page: Page) {
  for (const scheme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.waitForTimeout(100); // the colours' transition
    const { violations } = await new AxeBuilder({ page }).analyze();
    const grave = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
    expect(grave.map((v) => `${scheme} ${v.id}: ${v.help}\n  ${v.nodes.map((n) => `${n.target.join(' ')} ${n.failureSummary ?? ''}`).join('\n  ')}`)).toEqual([]);
  }
}
