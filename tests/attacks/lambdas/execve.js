// Becomes another program: process.execve replaces the runtime by a shell.
async function lambda(input, callback) {
  process.execve('/bin/sh', ['sh', '-c', 'exit 7'], {})
}
