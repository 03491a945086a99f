
// What follows is put behind every attack.

// attempt tries one thing. It gives "done: …" when that went well, else the code or text of the error.
async function attempt(what, patience = 1500) {
  let timer
  const silence = new Promise((resolve) => { timer = setTimeout(resolve, patience, 'silence') })
  const outcome = (async () => {
    try {
      const got = await what()
      return got === undefined ? 'done' : `done: ${String(got).slice(0, 80)}`
    } catch (e) {
      return String(e?.code ?? e?.cause?.code ?? e?.message ?? e).slice(0, 300)
    }
  })()
  const first = await Promise.race([outcome, silence])
  clearTimeout(timer)
  return first
}
