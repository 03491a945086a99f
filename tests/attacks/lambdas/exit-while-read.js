// Ends its process while it is read, each time it is started.
process.kill(process.pid, 'SIGKILL')
for (;;);
function lambda(input, callback) { callback(null, 'alive') }
