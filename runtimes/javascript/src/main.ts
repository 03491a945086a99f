// The JavaScript runtime of Sluice: one process that runs one lambda.
//
// A gateway starts it through go-plugin. It prints one handshake line, then serves
// faas.runtime.v1 on a unix socket; user code is read after that.

import { closeSync, openSync, writeSync } from 'node:fs';
import { RecordArea } from './area.ts';
import { exit } from './exits.ts';
import { serve } from './server.ts';
import { Service } from './service.ts';
import { MAX_FRAME } from './session.ts';

const COOKIE = { name: 'SLUICE_RUNTIME', value: 'faas.runtime.v1' };
const AREA = 'SLUICE_RECORD_AREA';
const CORE_PROTOCOL = 1;
const PROTOCOL = 1;
const MAX_SOCKET_PATH = 107; // bytes, the kernel's limit
const PARENT_CHECK = 5000; // ms
const SHUTDOWN = 200; // ms

function fail(message: string): never {
  writeSync(2, `${message}\n`);
  return exit(1);
}

function socketPath(): string {
  const folder = process.env['PLUGIN_UNIX_SOCKET_DIR'];
  if (folder === undefined || folder === '') {
    fail('PLUGIN_UNIX_SOCKET_DIR is not set: the gateway names the folder of the socket.');
  }
  const path = `${folder}/js-${String(process.pid)}-${Date.now().toString(36)}`;
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH) {
    fail(`The socket path ${path} is longer than ${String(MAX_SOCKET_PATH)} bytes. Use a shorter folder.`);
  }
  return path;
}

/** User code that reads standard input finds its end, and the number is not given to another file. */
function emptyStdin(): void {
  closeSync(0);
  openSync('/dev/null', 'r');
}

/** A gateway that was killed takes its processes along, also where the sandbox cannot see to it. */
function leaveWithParent(): void {
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid !== parent) exit(0);
  }, PARENT_CHECK);
}

function main(): void {
  if (process.env[COOKIE.name] !== COOKIE.value) {
    fail('This is the JavaScript runtime of Sluice. It is not meant to be started by hand: the gateway starts it.');
  }
  if ((process.env['PLUGIN_CLIENT_CERT'] ?? '') !== '') {
    fail('The host asks for mutual TLS, which this runtime does not speak: its socket is protected by its folder.');
  }
  emptyStdin();
  leaveWithParent();
  const path = socketPath();
  const shutDown = (): void => {
    server.tryShutdown(() => exit(0));
    setTimeout(() => exit(0), SHUTDOWN); // a session that is still open
  };
  const server = serve(new Service(new RecordArea(process.env[AREA])).methods(shutDown), MAX_FRAME, path, (error) => {
    if (error !== null) fail(`The runtime cannot listen on ${path}: ${error.message}`);
    writeSync(1, `${String(CORE_PROTOCOL)}|${String(PROTOCOL)}|unix|${path}|grpc\n`);
  });
}

main();
