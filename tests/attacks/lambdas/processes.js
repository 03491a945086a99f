// Looks for other processes: by the list in /proc, by their numbers, by signals that do nothing.
const fs = require('fs')

async function lambda(input, callback) {
  const { gateway, neighbour } = input.payload
  const mine = [process.pid, process.ppid]
  callback(null, {
    'list /proc': await attempt(() => {
      const others = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && !mine.includes(+name))
      if (others.length === 0) throw new Error('nobody else')
      return others.length
    }),
    'see the gateway': await attempt(() => fs.statSync(`/proc/${gateway}`).mode && undefined),
    'see its neighbour': await attempt(() => fs.statSync(`/proc/${neighbour.pid}`).mode && undefined),
    'see its parent': await attempt(() => fs.readFileSync(`/proc/${process.ppid}/cmdline`, 'utf8')),
    'learn its number on the host': await attempt(() => {
      const own = fs.readlinkSync('/proc/self')
      if (own === '1' || process.ppid === 0) throw new Error('it is process 1 in a world of its own')
      return own
    }),
  })
}
