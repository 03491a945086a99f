'use strict'
// Logs in at a gateway with Chromium, as a person does: once without any script,
// to see that the form works by itself and that its policy lets the browser go
// back to the app; once with, to look at the page.
//
// usage: browser.js '{"chromium", "authorizeURL", "callback", "user", "spki", "screenshots"?}'
const http = require('node:http')
const path = require('node:path')
const { chromium } = require('playwright-core')
const { AxeBuilder } = require('@axe-core/playwright')
const { report } = require('./person')

// listen is the app's own server: it keeps what browsers ask of it.
async function listen() {
  const requests = []
  const server = http.createServer((request, answer) => {
    requests.push(request.url)
    answer.setHeader('content-type', 'text/html')
    answer.end('<title>the app</title>')
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  return { requests, port: server.address().port, close: () => server.close() }
}

report(async (setup) => {
  const app = await listen()
  const browser = await chromium.launch({
    executablePath: setup.chromium,
    args: [
      // The app's address is fixed, its port on this machine is not; nothing else
      // is reached but the gateway, whose own certificate is trusted.
      `--host-resolver-rules=MAP ${new URL(setup.callback).host} 127.0.0.1:${app.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1`,
      `--ignore-certificate-errors-spki-list=${setup.spki}`,
    ],
  })
  try {
    return {
      withoutScript: await logIn(browser, setup, app),
      looks: await look(browser, setup),
      requests: app.requests,
    }
  } finally {
    await browser.close()
    app.close()
  }
})

async function logIn(browser, { authorizeURL, callback, user }, app) {
  const context = await browser.newContext({ javaScriptEnabled: false })
  const page = await context.newPage()
  const faults = []
  page.on('console', (message) => faults.push(message.text()))
  page.on('requestfailed', (request) => faults.push(`${request.url().split('?')[0]}: ${request.failure().errorText}`))
  await page.goto(authorizeURL)
  const lead = await page.locator('.lead').innerText()
  const submit = async (password) => {
    await page.getByLabel('Username').fill(user.username)
    await page.getByLabel('Password').fill(password)
    await page.getByRole('button', { name: 'Log in' }).click()
  }
  await submit('wrong')
  const alert = await page.getByRole('alert').innerText()
  const kept = [await page.getByLabel('Username').inputValue(), await page.getByLabel('Password').inputValue()]
  await submit(user.password)
  await page.waitForURL(`${callback}?**`)
  const first = page.url()
  await page.goto(authorizeURL) // there is a session now
  const cookies = (await context.cookies(authorizeURL)).map(({ name, secure, httpOnly, sameSite }) => ({ name, secure, httpOnly, sameSite }))
  const result = { lead, alert, kept, first, second: page.url(), title: await page.title(), cookies, faults }
  await context.close()
  return result
}

async function look(browser, { authorizeURL, user, screenshots }) {
  const looks = {}
  for (const [name, options] of Object.entries({
    light: { viewport: { width: 1000, height: 800 } },
    dark: { viewport: { width: 1000, height: 800 }, colorScheme: 'dark' },
    narrow: { viewport: { width: 320, height: 640 } },
  })) {
    // Our evaluations need leave from the page's policy; what it blocks is seen above.
    const context = await browser.newContext({ ...options, bypassCSP: true })
    const page = await context.newPage()
    const shoot = async (state) => {
      if (screenshots) await page.screenshot({ path: path.join(screenshots, `login-${name}-${state}.png`), fullPage: true })
      const { violations } = await new AxeBuilder({ page }).analyze()
      return {
        violations: violations.map((v) => `${v.id}: ${v.help}`),
        overflow: await page.evaluate(() => document.documentElement.scrollWidth > innerWidth),
        focused: await page.evaluate(() => document.activeElement.id),
      }
    }
    await page.goto(authorizeURL)
    const empty = await shoot('empty')
    await page.getByLabel('Username').fill(user.username)
    await page.getByLabel('Password').fill('wrong')
    await page.keyboard.press('Enter')
    await page.getByRole('alert').waitFor()
    looks[name] = { empty, failed: await shoot('failed') }
    await context.close()
  }
  return looks
}
