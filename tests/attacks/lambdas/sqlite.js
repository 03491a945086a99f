// Goes for files by SQLite, which opens them itself.
// SQLite's own words are the reason; that a file is no database is told by one that has read it.
const sql = async (what) => {
  try { await what() } catch (e) { if (e.errcode !== 26) throw { code: e.errstr ?? e.message } }
}

async function lambda(input, callback) {
  const { data, mark } = input.payload
  const { DatabaseSync } = require('node:sqlite')
  callback(null, {
    "open the host's": await attempt(() => sql(() => { new DatabaseSync('/etc/passwd', { readOnly: true }).exec('select * from sqlite_master') })),
    'plant one in the data folder': await attempt(() => sql(() => { new DatabaseSync(`${data}/${mark}.db`).exec('create table t (x)') })),
    'attach one': await attempt(() => sql(() => { new DatabaseSync(':memory:').exec(`attach '${data}/${mark}-attached.db' as a; create table a.t (x)`) })),
    'plant one in its own folder': await attempt(() => sql(() => { new DatabaseSync(`${home()}/${mark}.db`).exec('create table t (x)') })),
    'a backup': await attempt(() => sql(async () => { await require('node:sqlite').backup(new DatabaseSync(':memory:'), `${data}/${mark}-backup.db`) })),
  })
}
