// The gRPC server: methods by path, whose messages are bytes here. The codec of
// faas.runtime.v1 is ours, so no .proto is read at start.

import {
  type handleUnaryCall,
  type MethodDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  status as Status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { pin } from './primordials.ts';
import { Writer } from './wire.ts';

export { Status };

/** An answer other than OK: the host's mistake or the runtime's, never the author's. */
export class StatusError extends Error {
  readonly status: Status;

  constructor(status: Status, message: string) {
    super(message);
    this.status = status;
  }
}

/** Answers one request: writes the response's fields, then calls reply, now or later. Throws a StatusError instead. */
export type Unary = (request: Buffer, response: Writer, reply: () => void) => void;

/** Begins a call that carries many messages either way. Throws a StatusError to refuse it. */
export type Streaming = (stream: Stream) => Receiver;

/** What takes the messages of one stream. A StatusError that it throws ends the stream. */
export interface Receiver {
  message(message: Buffer): void;
  /** The peer sends no more. */
  end(): void;
  /** The stream is over: ended by this side, given up by the peer, or the peer has gone. */
  closed(): void;
}

export interface Methods {
  unary: Record<string, Unary>;
  streaming: Record<string, Streaming>;
}

type Duplex = ServerDuplexStream<Buffer, Buffer>;

/** Room for a small answer; larger ones grow. */
const RESPONSE = 512;

/** One stream's way out. */
export class Stream {
  private closed = false;
  private unwritten = 0;
  private readonly call: Duplex;

  constructor(call: Duplex) {
    this.call = call;
    pin(call, 'write', 'end', 'emit');
  }

  /** Bytes that have not reached the socket, because the peer reads slowly. */
  get backlog(): number {
    return this.unwritten;
  }

  /** Sends a message, which must not change any more; written hears when it is on its way. */
  send(message: Buffer, written?: () => void): void {
    if (this.closed) return;
    const { length } = message;
    this.unwritten += length;
    this.call.write(message, () => {
      this.unwritten -= length;
      written?.();
    });
  }

  /** Ends the stream after what has been sent. */
  end(): void {
    if (this.closed) return;
    this.closed = true;
    this.call.end();
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    if (this.closed) return;
    this.closed = true;
    this.call.emit('error', statusOf(error));
  }
}

const same = (message: Buffer): Buffer => message;

/** Serves the methods on a unix socket; maxMessage bounds each message in bytes. */
export function serve(methods: Methods, maxMessage: number, path: string, done: (error: Error | null) => void): Server {
  const server = new Server({
    'grpc.max_receive_message_length': maxMessage,
    'grpc.max_send_message_length': maxMessage,
    'grpc.enable_channelz': 0,
  });
  const definition: Record<string, MethodDefinition<Buffer, Buffer>> = {};
  const handlers: UntypedServiceImplementation = {};
  const define = (name: string, streaming: boolean): void => {
    definition[name] = {
      path: name,
      requestStream: streaming,
      responseStream: streaming,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
  };
  for (const [name, method] of Object.entries(methods.unary)) {
    define(name, false);
    handlers[name] = unary(method);
  }
  for (const [name, method] of Object.entries(methods.streaming)) {
    define(name, true);
    handlers[name] = streaming(method);
  }
  server.addService(definition, handlers);
  server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), done);
  return server;
}

function unary(method: Unary): handleUnaryCall<Buffer, Buffer> {
  return (call, callback) => {
    const response = new Writer(RESPONSE);
    try {
      method(call.request, response, () => {
        callback(null, response.take());
      });
    } catch (error) {
      callback(statusOf(error));
    }
  };
}

function streaming(method: Streaming): (call: Duplex) => void {
  return (call) => {
    const stream = new Stream(call);
    const guard = (work: () => void): void => {
      try {
        work();
      } catch (error) {
        stream.fail(error);
      }
    };
    guard(() => {
      const receiver = method(stream);
      call.on('data', (message: Buffer) => {
        guard(() => {
          receiver.message(message);
        });
      });
      call.on('end', () => {
        guard(() => {
          receiver.end();
        });
      });
      call.on('cancelled', () => {
        receiver.closed();
      });
    });
  };
}

function statusOf(error: unknown): { code: Status; details: string } {
  if (error instanceof StatusError) return { code: error.status, details: error.message };
  return { code: Status.INTERNAL, details: String(error) };
}
