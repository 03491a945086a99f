// Plays with names in its own folder, where the gateway looks for its socket: links to what is not its own.
const fs = require('fs')
const net = require('net')

async function lambda(input, callback) {
  const { mark, data } = input.payload
  const here = home()
  const socket = () => {
    const name = fs.readdirSync(here).find((n) => fs.lstatSync(`${here}/${n}`).isSocket())
    if (name === undefined) throw new Error('there is no socket')
    return `${here}/${name}`
  }
  callback(null, {
    'its socket linked to': await attempt(() => { fs.linkSync(socket(), `${here}/${mark}-l`) }),
    'a link to a file of the host': await attempt(() => { fs.symlinkSync('/etc/shadow', `${here}/${mark}-f`) }),
    'a link to the control socket': await attempt(() => { fs.symlinkSync(`${data}/control.sock`, `${here}/${mark}-control`) }),
    'a hard link': await attempt(() => { fs.linkSync(process.execPath, `${here}/${mark}-node`) }),
    'its socket replaced': await attempt(() => { const path = socket(); fs.renameSync(path, `${path}.old`); fs.symlinkSync(`${data}/control.sock`, path) }),
    'its socket removed': await attempt(() => { fs.rmSync(socket()) }),
    'a folder in it': await attempt(() => { fs.mkdirSync(`${here}/deep`) }),
    'another socket in it': await attempt(() => new Promise((resolve, reject) => {
      net.createServer().unref().on('error', reject).listen(`${here}/${mark}`, () => { resolve() })
    })),
    'its folder renamed': await attempt(() => { fs.renameSync(here, `${here}x`); fs.renameSync(`${here}x`, here) }),
    'the runtime changed': await attempt(() => { fs.appendFileSync(process.mainModule?.filename ?? require('path').join(require('path').dirname(process.execPath), 'main.cjs'), '') }),
  })
}
