// Reads the gateway's memory, where every secret and token is, by way of /proc.
const fs = require('fs')

async function lambda(input, callback) {
  const { gateway } = input.payload
  const seen = {}
  for (const name of ['mem', 'maps', 'environ', 'cmdline', 'auxv', 'fd', 'task', 'root', 'cwd', 'ns/net']) {
    seen['open ' + name] = await attempt(() => fs.closeSync(fs.openSync(`/proc/${gateway}/${name}`)))
  }
  seen['write to mem'] = await attempt(() => fs.closeSync(fs.openSync(`/proc/${gateway}/mem`, 'r+')))
  seen['read /proc/kcore'] = await attempt(() => fs.closeSync(fs.openSync('/proc/kcore')))
  seen['read /dev/mem'] = await attempt(() => fs.closeSync(fs.openSync('/dev/mem')))
  callback(null, seen)
}
