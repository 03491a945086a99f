import base from './playwright.config';

// Pictures of every page: both colour schemes, and a phone.
export default { ...base, testDir: 'e2e/shots', timeout: 600_000 };
