'use strict'
// A person at a browser, for scripts that drive a client library: opens the URL
// that the library made, fills the login form that is there, and comes to the
// app's callback.

// logIn gives the URL of the callback, as the app's server would see it.
async function logIn(authorizationURL, { username, password }) {
  const cookies = new Map()
  const visit = async (url, options = {}) => {
    const answer = await fetch(url, {
      redirect: 'manual',
      ...options,
      headers: { accept: 'text/html', cookie: [...cookies].map((c) => c.join('=')).join('; '), ...options.headers },
    })
    for (const cookie of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)
      cookies.set(name, value)
    }
    return answer
  }
  let url = new URL(authorizationURL)
  const { origin } = url
  for (let step = 0; step < 10; step++) {
    let answer = await visit(url)
    if (answer.status === 200) {
      const page = await answer.text()
      for (const field of ['username', 'password']) {
        if (!page.includes(`name="${field}"`)) throw new Error(`no field ${field} in the page at ${url.pathname}`)
      }
      answer = await visit(url, {
        method: 'POST',
        headers: { 'sec-fetch-site': 'same-origin' },
        body: new URLSearchParams({ username, password }),
      })
    }
    const to = answer.headers.get('location')
    if (to === null) throw new Error(`${answer.status} at ${url.pathname}: ${(await answer.text()).slice(0, 500)}`)
    url = new URL(to, url)
    if (url.origin !== origin) return url
  }
  throw new Error('redirected in circles')
}

// invoke calls a lambda with an access token, and gives status and body.
async function invoke({ gateway, accountId, lambda }, token) {
  const answer = await fetch(`${gateway}/api/account/${accountId}/lambdas/${lambda}/invoke?v=1&externalSystem=e2e`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ timestamp: 0, headers: [], payload: { name: 'Ada' } }),
  })
  return { status: answer.status, body: await answer.json() }
}

// report runs main with the arguments of the command line, and prints what it gives.
function report(main) {
  main(JSON.parse(process.argv[2])).then(
    (value) => process.stdout.write(JSON.stringify(value) + '\n'),
    (error) => {
      process.stderr.write(`${error.stack}\n${error.cause ?? ""}\n`)
      process.exitCode = 1
    },
  )
}

module.exports = { logIn, invoke, report }
