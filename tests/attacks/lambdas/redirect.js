// Has a host that it may reach send it on to where it may not.
async function lambda(input, callback) {
  const { ports } = input.payload
  const seen = {}
  for (const to of input.payload.targets) {
    seen[`to ${to}`] = await attempt(async () => {
      const answer = await fetch(`http://${input.payload.allowed}:${ports.web}/redirect?to=${encodeURIComponent(to)}`, { signal: AbortSignal.timeout(2500) })
      if (answer.status !== 200) throw new Error(`${answer.status}`)
      return answer.url
    })
  }
  callback(null, seen)
}
