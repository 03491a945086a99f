// Ends its process in every way.
const ways = {
  exit() { process.exit(0) },
  reallyExit() { process.reallyExit(0) },
  abort() { process.abort() },
  SIGKILL() { process.kill(process.pid, 'SIGKILL') },
  SIGSTOP() { process.kill(process.pid, 'SIGSTOP') },
  SIGTERM() { process.kill(0, 'SIGTERM') },
  'SIGSEGV by its own name'() { process._kill(process.pid, 11) },
  'the binding'() { process.binding('process_methods') },
  'a deep stack of native code'() { let a = []; for (let i = 0; i < 1e6; i++) a = [a]; JSON.stringify(a) },
  'an exit from an exit'() { process.on('exit', () => process.exit(1)); process.exit(1) },
  'caught and again'() { for (;;) try { process.exit(1) } catch {} },
}

function lambda(input, callback) { ways[input.payload.variant](); setTimeout(callback, 500, null, 'alive') }
