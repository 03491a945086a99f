
// What follows is put behind every attack.

// home is the folder with the socket on which the process talks with the gateway.
const home = () => (require('fs').existsSync('/run/sluice') ? '/run/sluice' : process.cwd())

// attempt tries one thing. It gives "done: …" when that went well, else the code or text of the error.
async function attempt(what, patience = 1500) {
  let timer
  const silence = new Promise((resolve) => { timer = setTimeout(resolve, patience, 'silence') })
  const outcome = (async () => {
    try {
      const got = await what()
      return got === undefined ? 'done' : `done: ${String(got).slice(0, 80)}`
    } catch (e) {
      const rule = e?.rule ?? e?.cause?.rule
      if (rule !== undefined) return `EGRESS_DENIED ${rule}`
      return String([e?.code, e?.cause?.code].find((code) => typeof code === 'string') ?? e?.message ?? e).slice(0, 300)
    }
  })()
  const first = await Promise.race([outcome, silence])
  clearTimeout(timer)
  return first
}
