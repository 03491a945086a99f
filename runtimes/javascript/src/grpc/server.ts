// A gRPC server on one unix socket: methods by path, each unary or a stream.

import { createServer, type Server, type Socket } from 'node:net';
import { Writer } from '../wire.js';
import { Connection, HEADROOM, type Receiver, type Stream } from './connection.js';
import { Status, StatusError } from './status.js';

/** Answers one request: writes the response's fields, then calls reply, now or later. Throws a StatusError instead. */
export type Unary = (request: Buffer, response: Writer, reply: () => void) => void;

/** Begins a call that carries many messages either way. */
export type Streaming = (stream: Stream) => Receiver;

export interface Methods {
  unary: Record<string, Unary>;
  streaming: Record<string, Streaming>;
}

/** Room for a small answer; larger ones grow. */
const RESPONSE = 512;

/** Serves the methods; maxMessage bounds each message, closed hears of every connection's end. */
export function serve(methods: Methods, maxMessage: number, closed: () => void): Server {
  const unary = new Map(Object.entries(methods.unary));
  const streaming = new Map(Object.entries(methods.streaming));
  const open = (stream: Stream, path: string): Receiver => {
    const one = unary.get(path);
    if (one !== undefined) return answer(stream, one);
    const many = streaming.get(path);
    if (many !== undefined) return many(stream);
    throw new StatusError(Status.unimplemented, `this runtime does not serve ${path}`);
  };
  return createServer((socket: Socket) => {
    new Connection(socket, { maxMessage, open, closed });
  });
}

function answer(stream: Stream, method: Unary): Receiver {
  let asked = false;
  return {
    message(buffer, start, end) {
      if (asked) throw new StatusError(Status.internal, 'a unary call carries one message');
      asked = true;
      const response = new Writer(HEADROOM, RESPONSE);
      method(buffer.subarray(start, end), response, () => {
        stream.send(response.buffer, response.position);
        stream.close(Status.ok);
      });
    },
    end() {
      if (!asked) throw new StatusError(Status.internal, 'a unary call carries one message');
    },
    broken() {
      // Nobody waits for the answer; the method goes on to its end.
    },
  };
}
