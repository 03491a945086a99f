// npm run bench: what a process costs. The client is Node too, so the calls a
// second are a lower bound; the gateway's own benchmark measures the whole way.

import { readFileSync } from 'node:fs';
import type { TestContext } from 'node:test';
import { Runtime, type Session } from './runtime.ts';

const HELLO = `function lambda(input, callback) { callback(null, 'Hello ' + (input.payload.name || 'World')); }`;
const STARTS = 15;
const SECONDS = 4;

const cleanups: (() => Promise<void>)[] = [];
const context = { after: (f: () => Promise<void>) => cleanups.push(f) } as unknown as TestContext;

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

function privateMiB(runtime: Runtime): number {
  const rollup = readFileSync(`/proc/${runtime.child.pid}/smaps_rollup`, 'utf8');
  return [...rollup.matchAll(/^Private_\w+: +(\d+)/gm)].reduce((sum, m) => sum + Number(m[1]), 0) / 1024;
}

function cpuSeconds(runtime: Runtime): number {
  const stat = readFileSync(`/proc/${runtime.child.pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(stat[11]) + Number(stat[12])) / 100;
}

async function load(session: Session, inFlight: number): Promise<{ calls: number; latencies: number[] }> {
  const latencies: number[] = [];
  const end = performance.now() + SECONDS * 1000;
  const caller = async (): Promise<void> => {
    while (performance.now() < end) {
      const start = performance.now();
      const call = session.prepare({ name: 'Ada' });
      queue(session, call.entry);
      await call.outcome;
      latencies.push(performance.now() - start);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, caller));
  return { calls: latencies.length, latencies };
}

let waiting: object[] = [];
function queue(session: Session, entry: object): void {
  if (waiting.push(entry) > 1) return;
  process.nextTick(() => {
    session.send({ calls: waiting });
    waiting = [];
  });
}

await Runtime.start(context); // shares the program's pages, as other processes of a gateway do
const starts: number[] = [];
for (let i = 0; i < STARTS; i++) {
  const start = performance.now();
  await Runtime.start(context);
  starts.push(performance.now() - start);
}
console.log(`start to handshake: ${median(starts).toFixed(0)} ms at the median of ${STARTS}, ${Math.min(...starts).toFixed(0)} ms at best`);

const runtime = await Runtime.start(context);
console.log(`private memory, blank: ${privateMiB(runtime).toFixed(1)} MiB`);
await runtime.describe();
const before = performance.now();
await runtime.load(HELLO);
const session = runtime.session();
await session.call({}).outcome;
console.log(`load and first answer: ${(performance.now() - before).toFixed(1)} ms`);
console.log(`private memory, loaded: ${privateMiB(runtime).toFixed(1)} MiB`);

for (const inFlight of [1, 64]) {
  await load(session, inFlight);
  const cpu = cpuSeconds(runtime);
  const { calls, latencies } = await load(session, inFlight);
  const spent = ((cpuSeconds(runtime) - cpu) / calls) * 1e6;
  console.log(`${inFlight} in flight: ${(calls / SECONDS).toFixed(0)} calls/s, ${median(latencies).toFixed(3)} ms at the median, ${spent.toFixed(1)} µs of the process's CPU a call`);
}
for (const cleanup of cleanups) await cleanup();
