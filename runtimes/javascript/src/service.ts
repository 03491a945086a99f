// faas.runtime.v1.RuntimeService and the two services that go-plugin wants.

import type { RecordArea } from './area.ts';
import type * as builder from './build.ts';
import { decodeBuildRequest, decodeDescribeRequest, decodeLoadRequest, type LoadFailure, type LoadRequest, Level, writeBuildResponse, writeDescribeResponse, writeLoadResponse } from './codec.ts';
import { Recorder, replaceConsole } from './console.ts';
import { describeRuntime } from './describe.ts';
import { openWayOut } from './egress.ts';
import { describe } from './errors.ts';
import { exit, watchExits } from './exits.ts';
import { expectSource } from './fetch.ts';
import { current } from './invocation.ts';
import { type Artifact, decodeArtifact, FILE, type Lambda, load, setEnvironment } from './load.ts';
import { byteLength, jsonParse, jsonStringify, max, monotonic, soon } from './primordials.ts';
import { MAX_KEY, MAX_VALUE } from './requests.ts';
import type { Parts } from './require.ts';
import { type Methods, Status, StatusError, type Unary } from './server.ts';
import { Session } from './session.ts';
import { cleanStack } from './stack.ts';
import type * as toolbelt from './toolbelt/index.ts';
import { Reader, type Writer } from './wire.ts';

/** The longest that anything of the toolbelt waits outside of calls, milliseconds. */
const MAX_CALL = 30_000;

/** One process's life: blank, then loaded. */
export class Service {
  private readonly session: Session;
  private readonly recorder: Recorder;
  private state: 'blank' | 'loading' | 'failed' | 'loaded' = 'blank';
  private failLoading: ((failure: LoadFailure) => void) | undefined;
  /** What the toolbelt reads, whatever user code does to process.env. */
  private environment: Readonly<Record<string, string | undefined>> = {};

  constructor(area: RecordArea) {
    this.session = new Session(area, () => exit(0));
    this.recorder = new Recorder(this.session.log);
    this.session.recorder = this.recorder;
    openWayOut(process.env['SLUICE_EGRESS'], (invocation, message) => {
      this.recorder.note(invocation, Level.warn, message, '');
    });
  }

  /** What is served; shutDown ends the process once the answer to that is on its way. */
  methods(shutDown: () => void): Methods {
    return {
      unary: {
        '/faas.runtime.v1.RuntimeService/Describe': (message, response, reply) => {
          writeDescribeResponse(response, describeRuntime(decodeDescribeRequest(message)));
          reply();
        },
        '/faas.runtime.v1.RuntimeService/Build': this.build,
        '/faas.runtime.v1.RuntimeService/Load': this.load,
        '/grpc.health.v1.Health/Check': check,
        '/plugin.GRPCController/Shutdown': (_request, _response, reply) => {
          reply();
          shutDown();
        },
      },
      streaming: {
        '/faas.runtime.v1.RuntimeService/Session': (stream) => {
          return this.session.start(stream);
        },
      },
    };
  }

  private readonly build: Unary = (message, response, reply) => {
    if (this.state !== 'blank') throw new StatusError(Status.FAILED_PRECONDITION, 'a process that was loaded does not build');
    // The parser is read from a file of its own: only builders need it.
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    const { build } = require('./build.cjs') as typeof builder;
    writeBuildResponse(response, build(decodeBuildRequest(message)));
    reply();
  };

  private readonly load: Unary = (message, response, reply) => {
    if (this.state !== 'blank') throw new StatusError(Status.FAILED_PRECONDITION, 'a process is loaded once');
    const request = decodeLoadRequest(message);
    const { source } = artifactOf(request);
    this.state = 'loading';
    const done = (failure?: LoadFailure): void => {
      if (this.state !== 'loading') return;
      this.state = failure === undefined ? 'loaded' : 'failed';
      writeLoadResponse(response, failure);
      reply();
    };
    this.failLoading = done;
    this.prepare(request);
    expectSource(source);
    let lambda: Lambda;
    try {
      lambda = load(source, this.toolbelt);
    } catch (error) {
      done(failureOf(error));
      return;
    }
    this.session.serve(lambda, request.limits);
    // What the module's code does at once, like a rejection, is still part of its loading.
    soon(done);
  };

  /** The toolbelt is read from a file of its own: not every lambda needs it. */
  private readonly toolbelt = (): Parts => {
    // eslint-disable-next-line @typescript-eslint/no-require-imports
    const { make } = require('./toolbelt.cjs') as typeof toolbelt;
    const { requests } = this.session;
    return make({
      read: (key, timeout) => requests.read(key, timeout),
      update: (key, value) => requests.update(key, value),
      jsonParse,
      jsonStringify,
      byteLength,
      warn: (message) => {
        this.recorder.note(current(), Level.warn, message, '');
      },
      maxKey: MAX_KEY,
      maxValue: MAX_VALUE,
      environment: this.environment,
      // eslint-disable-next-line @typescript-eslint/no-require-imports -- as large as the rest of the runtime: read when it is used
      jsforce: () => require('./jsforce.cjs') as unknown,
      remaining: () => {
        const deadline = current()?.deadline;
        return deadline === undefined ? MAX_CALL : max(deadline - monotonic(), 0);
      },
    });
  };

  /** Lays out the process for user code, before any of it runs. */
  private prepare(request: LoadRequest): void {
    this.recorder.limit(request.limits);
    replaceConsole(this.recorder);
    this.environment = request.environment;
    setEnvironment(request.environment);
    process.argv = ['node', FILE];
    watchExits((invocation, reason, announced) => {
      if (this.state === 'loading') {
        this.failLoading?.({ message: `The code ended its process while it was read: ${reason}`, stack: '' });
      } else {
        this.session.announceExit(invocation, reason, announced);
      }
    });
    process.on('uncaughtException', this.uncaught);
    process.on('unhandledRejection', this.uncaught);
  }

  private readonly uncaught = (error: unknown): void => {
    if (this.state === 'loading') this.failLoading?.(failureOf(error));
    else this.session.uncaught(current(), error);
  };
}

function artifactOf(request: LoadRequest): Artifact {
  try {
    return decodeArtifact(request.artifact);
  } catch (error) {
    throw new StatusError(Status.INVALID_ARGUMENT, describe(error));
  }
}

function failureOf(error: unknown): LoadFailure {
  return { message: describe(error), stack: error instanceof Error ? cleanStack(error.stack) : '' };
}

const SERVING = 1;

function check(request: Buffer, response: Writer, reply: () => void): void {
  const service = serviceOf(request);
  if (service !== '' && service !== 'plugin') throw new StatusError(Status.NOT_FOUND, `unknown service ${service}`);
  response.uint(1, SERVING);
  reply();
}

function serviceOf(request: Buffer): string {
  const r = new Reader(request);
  let service = '';
  for (let tag = r.tag(); tag !== 0; tag = r.tag()) {
    if (tag === 0x0a) service = r.string();
    else r.skip(tag);
  }
  return service;
}
