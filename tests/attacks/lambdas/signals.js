// Signals the gateway, a neighbour, and everybody. SIGURG does no harm to anyone; where it arrives, so would
// SIGKILL, which is sent only to who cannot be reached.
// The runtime takes a signal to everybody from process 1 for one to itself; this is below it.
const all = (signal) => {
  const code = process._kill(-1, signal)
  if (code !== 0) throw { code: require('util').getSystemErrorName(code) }
}

async function lambda(input, callback) {
  const { gateway, neighbour } = input.payload
  const seen = {}
  for (const [name, pid] of [['the gateway', gateway], ['its neighbour', neighbour.pid], ["its parent's group", -gateway], ['process 2', 2]]) {
    seen['signal ' + name] = await attempt(() => { process.kill(pid, 'SIGURG') })
    if (!seen['signal ' + name].startsWith('done')) {
      seen['kill ' + name] = await attempt(() => { process.kill(pid, 'SIGKILL') })
    }
  }
  // -1 is everybody that it may signal; the second go is really meant.
  seen['signal everybody'] = await attempt(() => { all(23) })
  if (!seen['signal everybody'].startsWith('done')) {
    seen['kill everybody'] = await attempt(() => { all(9) })
  }
  callback(null, seen)
}
