// One HTTP/2 connection (RFC 9113), the server's side, as far as gRPC uses it.
//
// Why not node:http2 or @grpc/grpc-js: with them a blank process takes 37 or
// 60 ms to its handshake and 12 or 16 MiB of private memory, with this 28 ms and
// 9 MiB, and a gateway keeps hundreds of processes. And they send at the end of a
// turn of the event loop, which a lambda that loops for ever never reaches: what
// it logged before would be lost. Here send() has written to the socket when it
// returns, unless the peer reads too slowly.
//
// The peer is the gateway that started this process. It is trusted not to do
// harm, so this code checks what a mistake could break, not what an attack could.

import type { Socket } from 'node:net';
import { copy, min, pin, subarray } from '../primordials.js';
import { encodeHeaders, HeaderDecoder, HpackError } from './hpack.js';
import { Status, StatusError } from './status.js';

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PUSH_PROMISE = 5;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
const CONTINUATION = 9;

const END_STREAM = 0x1;
const ACK = 0x1;
const END_HEADERS = 0x4;
const PADDED = 0x8;
const PRIORITY = 0x20;

const SETTING_MAX_CONCURRENT_STREAMS = 3;
const SETTING_INITIAL_WINDOW_SIZE = 4;
const SETTING_MAX_FRAME_SIZE = 5;

const NO_ERROR = 0;
const PROTOCOL_ERROR = 1;
const FLOW_CONTROL_ERROR = 3;
const FRAME_SIZE_ERROR = 6;
const COMPRESSION_ERROR = 9;

const HEADER = 9;
const PREFIX = 5;
/** Bytes in front of a message that the connection fills in. */
export const HEADROOM = HEADER + PREFIX;

const FRAME_SIZE = 16384;
const DEFAULT_WINDOW = 65535;
const MAX_WINDOW = 0x7fffffff;
/** How much the peer may send before it hears that it was read: more than one message. */
const WINDOW = 16 << 20;
const MAX_STREAMS = 1000;
const MAX_HEADER_BLOCK = 64 << 10;

/** What a connection needs to know of the services behind it. */
export interface Services {
  /** Largest message, bytes. */
  maxMessage: number;
  /** Begins a call; a thrown StatusError is its answer. */
  open(stream: Stream, path: string): Receiver;
  /** The connection has ended; every receiver has been told. */
  closed(): void;
}

/** What takes the messages of one call. */
export interface Receiver {
  /** One message: the bytes of buffer from start to end, which may be overwritten after the return. */
  message(buffer: Buffer, start: number, end: number): void;
  /** The peer sends no more. */
  end(): void;
  /** The peer gave the call up or has gone. Nothing can be sent any more. */
  broken(): void;
}

class ConnectionError extends Error {
  constructor(
    readonly code: number,
    message: string,
  ) {
    super(message);
  }
}

/** One call: messages out, then a status. */
export class Stream {
  /** @internal */ receiver: Receiver | undefined;
  /** @internal */ sendWindow: number;
  /** @internal */ unread = 0;
  /** @internal */ ended = false; // by the peer
  /** @internal */ queue: Buffer[] = [];
  /** @internal */ queued = 0;
  /** @internal */ trailers: Buffer | undefined;
  private headersSent = false;
  private closed = false;
  private partial: Buffer | undefined;
  private prefix = Buffer.allocUnsafe(PREFIX);
  private have = 0; // of the prefix, then of the message
  private needsPrefix = true;

  constructor(
    readonly id: number,
    private readonly connection: Connection,
    sendWindow: number,
  ) {
    this.sendWindow = sendWindow;
  }

  /** Bytes that the peer has not had room for. */
  get backlog(): number {
    return this.queued + this.connection.unsent;
  }

  /**
   * Sends the message that stands in the buffer from HEADROOM to end. The room
   * in front is overwritten. Returns whether the buffer must be left alone from
   * now on, because it has not been written yet.
   */
  send(buffer: Buffer, end: number): boolean {
    if (this.closed || this.trailers !== undefined) return false;
    const length = end - HEADROOM;
    buffer[HEADER] = 0;
    buffer.writeUInt32BE(length, HEADER + 1);
    this.open();
    return this.connection.sendData(this, buffer, end);
  }

  /** Ends the call, after what has been sent. */
  close(status: Status, message = ''): void {
    if (this.closed || this.trailers !== undefined) return;
    const headers: [string, string][] = [['grpc-status', String(status)]];
    if (message !== '') headers.push(['grpc-message', encodeURIComponent(message.toWellFormed()).slice(0, 4000)]);
    if (!this.headersSent) headers.unshift([':status', '200'], ['content-type', 'application/grpc']);
    this.headersSent = true;
    this.trailers = encodeHeaders(headers);
    this.connection.pump();
  }

  private open(): void {
    if (this.headersSent) return;
    this.headersSent = true;
    this.connection.sendHeaders(
      this.id,
      encodeHeaders([
        [':status', '200'],
        ['content-type', 'application/grpc'],
      ]),
      0,
    );
  }

  /** @internal Takes bytes of the request and hands on the messages that are whole. */
  receive(chunk: Buffer, from: number, end: number, maxMessage: number): void {
    let at = from;
    while (at < end) {
      if (this.needsPrefix) {
        if (this.have === 0 && end - at >= PREFIX) {
          const length = this.length(chunk, at, maxMessage);
          if (end - at - PREFIX >= length) {
            const start = at + PREFIX;
            at = start + length;
            this.receiver?.message(chunk, start, at);
            continue;
          }
        }
        const n = min(PREFIX - this.have, end - at);
        copy(chunk, this.prefix, this.have, at, at + n);
        this.have += n;
        at += n;
        if (this.have < PREFIX) return;
        this.partial = Buffer.allocUnsafeSlow(this.length(this.prefix, 0, maxMessage));
        this.needsPrefix = false;
        this.have = 0;
      }
      const message = this.partial!;
      const n = min(message.length - this.have, end - at);
      copy(chunk, message, this.have, at, at + n);
      this.have += n;
      at += n;
      if (this.have < message.length) return;
      this.needsPrefix = true;
      this.have = 0;
      this.partial = undefined;
      this.receiver?.message(message, 0, message.length);
    }
  }

  private length(buffer: Buffer, at: number, maxMessage: number): number {
    if (buffer[at] !== 0) throw new StatusError(Status.unimplemented, 'compressed messages are not supported');
    const length = buffer.readUInt32BE(at + 1);
    if (length > maxMessage) {
      throw new StatusError(
        Status.resourceExhausted,
        `a message has ${String(length)} bytes, more than the limit of ${String(maxMessage)}`,
      );
    }
    return length;
  }

  /** @internal */
  settle(): void {
    this.closed = true;
    this.queue = [];
    this.queued = 0;
    this.partial = undefined;
  }
}

/** Speaks HTTP/2 on the socket until it closes. */
export class Connection {
  private readonly streams = pin(new Map<number, Stream>(), 'get', 'set', 'delete', 'forEach');
  private readonly decoder = new HeaderDecoder();
  private pending: Buffer | undefined;
  private prefaced = false;
  private lastStream = 0;
  private sendWindow = DEFAULT_WINDOW;
  private initialWindow = DEFAULT_WINDOW;
  private maxFrame = FRAME_SIZE;
  private unread = 0;
  private queueing = false;
  private block: { stream: number; flags: number; parts: Buffer[]; size: number } | undefined;
  private done = false;

  constructor(
    private readonly socket: Socket,
    private readonly services: Services,
  ) {
    pin(socket, 'write', 'destroy', 'end', 'cork', 'uncork', 'on', 'emit');
    socket.on('data', (chunk) => {
      this.received(chunk);
    });
    socket.on('error', () => {
      // 'close' follows, and there is nobody to tell.
    });
    socket.on('close', () => {
      this.end();
    });
  }

  /** Bytes that the socket has not taken yet. */
  get unsent(): number {
    return this.socket.writableLength;
  }

  private received(chunk: Buffer): void {
    if (this.done) return;
    let buffer = chunk;
    if (this.pending !== undefined) {
      buffer = Buffer.concat([this.pending, chunk]);
      this.pending = undefined;
    }
    try {
      const at = this.frames(buffer);
      if (at < buffer.length) this.pending = at === 0 ? buffer : subarray(buffer, at);
    } catch (error) {
      this.fail(error);
    }
  }

  /** Handles the whole frames of the buffer and returns where the rest begins. */
  private frames(buffer: Buffer): number {
    let at = 0;
    if (!this.prefaced) {
      if (buffer.length < PREFACE.length) return 0;
      if (!PREFACE.equals(buffer.subarray(0, PREFACE.length))) {
        throw new ConnectionError(PROTOCOL_ERROR, 'the peer does not speak HTTP/2');
      }
      at = PREFACE.length;
      this.prefaced = true;
      this.greet();
    }
    while (buffer.length - at >= HEADER && !this.done) {
      const length = (buffer[at]! << 16) | (buffer[at + 1]! << 8) | buffer[at + 2]!;
      if (length > FRAME_SIZE) throw new ConnectionError(FRAME_SIZE_ERROR, 'a frame is larger than agreed');
      const start = at + HEADER;
      const end = start + length;
      if (end > buffer.length) return at;
      const stream = buffer.readUInt32BE(at + 5) & MAX_WINDOW;
      this.frame(buffer[at + 3]!, buffer[at + 4]!, stream, buffer, start, end);
      at = end;
    }
    return at;
  }

  private frame(type: number, flags: number, stream: number, buffer: Buffer, start: number, end: number): void {
    if (this.block !== undefined && type !== CONTINUATION) {
      throw new ConnectionError(PROTOCOL_ERROR, 'a header block is interrupted');
    }
    switch (type) {
      case DATA:
        this.data(flags, stream, buffer, start, end);
        return;
      case WINDOW_UPDATE:
        this.windowUpdate(stream, buffer.readUInt32BE(start) & MAX_WINDOW);
        return;
      case PING:
        if ((flags & ACK) === 0) this.write(frameOf(PING, ACK, 0, buffer.subarray(start, end)));
        return;
      case SETTINGS:
        if ((flags & ACK) === 0) this.settings(buffer, start, end);
        return;
      case HEADERS:
        this.headers(flags, stream, buffer, start, end);
        return;
      case CONTINUATION:
        this.continuation(flags, stream, buffer.subarray(start, end));
        return;
      case RST_STREAM:
        this.drop(stream);
        return;
      case PUSH_PROMISE:
        throw new ConnectionError(PROTOCOL_ERROR, 'a client cannot push');
      default: // GOAWAY: the peer closes when its calls are done. PRIORITY and unknown types mean nothing here.
    }
  }

  private greet(): void {
    const settings = Buffer.alloc(12);
    settings.writeUInt16BE(SETTING_MAX_CONCURRENT_STREAMS, 0);
    settings.writeUInt32BE(MAX_STREAMS, 2);
    settings.writeUInt16BE(SETTING_INITIAL_WINDOW_SIZE, 6);
    settings.writeUInt32BE(WINDOW, 8);
    this.write(Buffer.concat([frameOf(SETTINGS, 0, 0, settings), windowUpdate(0, WINDOW - DEFAULT_WINDOW)]));
  }

  private settings(buffer: Buffer, start: number, end: number): void {
    for (let at = start; at + 6 <= end; at += 6) {
      const value = buffer.readUInt32BE(at + 2);
      switch (buffer.readUInt16BE(at)) {
        case SETTING_INITIAL_WINDOW_SIZE: {
          if (value > MAX_WINDOW) throw new ConnectionError(FLOW_CONTROL_ERROR, 'a window is too large');
          const change = value - this.initialWindow;
          this.initialWindow = value;
          this.streams.forEach((stream) => {
            stream.sendWindow += change;
          });
          break;
        }
        case SETTING_MAX_FRAME_SIZE:
          this.maxFrame = min(value, 1 << 20);
          break;
      }
    }
    this.write(frameOf(SETTINGS, ACK, 0, Buffer.alloc(0)));
    this.pump();
  }

  private windowUpdate(id: number, increment: number): void {
    if (id === 0) {
      this.sendWindow += increment;
      if (this.sendWindow > MAX_WINDOW) throw new ConnectionError(FLOW_CONTROL_ERROR, 'a window is too large');
    } else {
      const stream = this.streams.get(id);
      if (stream !== undefined) stream.sendWindow += increment;
    }
    if (this.queueing) this.pump();
  }

  private headers(flags: number, stream: number, buffer: Buffer, start: number, end: number): void {
    let from = start;
    let to = end;
    if ((flags & PADDED) !== 0) to -= buffer[from++]!;
    if ((flags & PRIORITY) !== 0) from += 5;
    if (from > to) throw new ConnectionError(PROTOCOL_ERROR, 'padding is longer than its frame');
    // A copy: the block may go on in the next read.
    const part = Buffer.from(buffer.subarray(from, to));
    this.block = { stream, flags, parts: [part], size: part.length };
    if ((flags & END_HEADERS) !== 0) this.endHeaders();
  }

  private continuation(flags: number, stream: number, part: Buffer): void {
    const block = this.block;
    if (block?.stream !== stream) throw new ConnectionError(PROTOCOL_ERROR, 'a header block goes on without a beginning');
    block.parts.push(Buffer.from(part));
    block.size += part.length;
    if (block.size > MAX_HEADER_BLOCK) throw new ConnectionError(PROTOCOL_ERROR, 'a header block is too large');
    if ((flags & END_HEADERS) !== 0) this.endHeaders();
  }

  private endHeaders(): void {
    const { stream: id, flags, parts } = this.block!;
    this.block = undefined;
    const headers = this.decoder.decode(Buffer.concat(parts));
    const known = this.streams.get(id);
    if (known !== undefined) {
      if ((flags & END_STREAM) !== 0) this.ended(known); // trailers
      return;
    }
    if (id <= this.lastStream) return; // trailers of a call that has been answered
    if (id % 2 === 0) throw new ConnectionError(PROTOCOL_ERROR, 'a client numbers its streams oddly');
    this.lastStream = id;
    const stream = new Stream(id, this, this.initialWindow);
    this.streams.set(id, stream);
    this.guard(stream, () => {
      if (!(headers.get('content-type') ?? '').startsWith('application/grpc')) {
        throw new StatusError(Status.unimplemented, 'only gRPC is served here');
      }
      stream.receiver = this.services.open(stream, headers.get(':path') ?? '');
    });
    if ((flags & END_STREAM) !== 0) this.ended(stream);
  }

  private data(flags: number, id: number, buffer: Buffer, start: number, end: number): void {
    let from = start;
    let to = end;
    if ((flags & PADDED) !== 0) to -= buffer[from++]!;
    if (from > to) throw new ConnectionError(PROTOCOL_ERROR, 'padding is longer than its frame');
    const stream = this.streams.get(id);
    this.count(stream, end - start);
    if (stream === undefined) return; // answered or given up a moment ago
    try {
      stream.receive(buffer, from, to, this.services.maxMessage);
    } catch (error) {
      this.refuse(stream, error);
    }
    if ((flags & END_STREAM) !== 0) this.ended(stream);
  }

  /** Gives the peer its window back before it runs out. */
  private count(stream: Stream | undefined, bytes: number): void {
    this.unread += bytes;
    if (this.unread >= WINDOW / 4) {
      this.write(windowUpdate(0, this.unread));
      this.unread = 0;
    }
    if (stream === undefined || stream.ended) return;
    stream.unread += bytes;
    if (stream.unread >= WINDOW / 4) {
      this.write(windowUpdate(stream.id, stream.unread));
      stream.unread = 0;
    }
  }

  private ended(stream: Stream): void {
    if (stream.ended) return;
    stream.ended = true;
    this.guard(stream, () => stream.receiver?.end());
  }

  private drop(id: number): void {
    const stream = this.streams.get(id);
    if (stream === undefined) return;
    this.forget(stream);
    stream.receiver?.broken();
  }

  private guard(stream: Stream, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.refuse(stream, error);
    }
  }

  private refuse(stream: Stream, error: unknown): void {
    if (error instanceof StatusError) stream.close(error.status, error.message);
    else stream.close(Status.internal, String(error));
  }

  /** @internal Sends a message with its prefix; true if the buffer is still needed. */
  sendData(stream: Stream, buffer: Buffer, end: number): boolean {
    const length = end - HEADER;
    if (
      stream.queue.length === 0 &&
      length <= this.maxFrame &&
      length <= this.sendWindow &&
      length <= stream.sendWindow
    ) {
      this.sendWindow -= length;
      stream.sendWindow -= length;
      frameHeader(buffer, 0, length, DATA, 0, stream.id);
      this.write(subarray(buffer, 0, end));
      return this.socket.writableLength > 0;
    }
    stream.queue.push(subarray(buffer, HEADER, end));
    stream.queued += length;
    this.pump();
    return true;
  }

  /** @internal */
  sendHeaders(stream: number, block: Buffer, flags: number): void {
    this.write(frameOf(HEADERS, END_HEADERS | flags, stream, block));
  }

  /** @internal Sends what the windows allow. */
  pump(): void {
    this.queueing = false;
    this.socket.cork();
    this.streams.forEach((stream) => {
      this.pumpStream(stream);
      this.queueing ||= stream.queue.length > 0;
    });
    this.socket.uncork();
  }

  private pumpStream(stream: Stream): void {
    while (stream.queue.length > 0) {
      const data = stream.queue[0]!;
      const length = min(min(data.length, this.maxFrame), min(this.sendWindow, stream.sendWindow));
      if (length <= 0) return;
      this.sendWindow -= length;
      stream.sendWindow -= length;
      stream.queued -= length;
      const header = Buffer.allocUnsafe(HEADER);
      frameHeader(header, 0, length, DATA, 0, stream.id);
      this.write(header);
      this.write(subarray(data, 0, length));
      if (length === data.length) stream.queue.shift();
      else stream.queue[0] = subarray(data, length);
    }
    if (stream.trailers === undefined) return;
    this.sendHeaders(stream.id, stream.trailers, END_STREAM);
    if (!stream.ended) this.write(frameOf(RST_STREAM, 0, stream.id, Buffer.alloc(4))); // NO_ERROR: no need to send more
    this.forget(stream);
  }

  private forget(stream: Stream): void {
    this.streams.delete(stream.id);
    stream.settle();
  }

  private write(bytes: Buffer): void {
    if (!this.done) this.socket.write(bytes);
  }

  private fail(error: unknown): void {
    const code = error instanceof ConnectionError ? error.code : error instanceof HpackError ? COMPRESSION_ERROR : 2;
    const body = Buffer.concat([Buffer.alloc(8), Buffer.from(String(error))]);
    body.writeUInt32BE(this.lastStream, 0);
    body.writeUInt32BE(code, 4);
    this.write(frameOf(GOAWAY, NO_ERROR, 0, body));
    this.socket.end();
    this.end();
  }

  private end(): void {
    if (this.done) return;
    this.done = true;
    this.streams.forEach((stream) => {
      this.forget(stream);
      stream.receiver?.broken();
    });
    this.services.closed();
  }
}

function frameHeader(b: Buffer, at: number, length: number, type: number, flags: number, stream: number): void {
  b[at] = length >>> 16;
  b[at + 1] = length >>> 8;
  b[at + 2] = length;
  b[at + 3] = type;
  b[at + 4] = flags;
  b[at + 5] = stream >>> 24;
  b[at + 6] = stream >>> 16;
  b[at + 7] = stream >>> 8;
  b[at + 8] = stream;
}

function frameOf(type: number, flags: number, stream: number, body: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(HEADER + body.length);
  frameHeader(frame, 0, body.length, type, flags, stream);
  frame.set(body, HEADER);
  return frame;
}

function windowUpdate(stream: number, increment: number): Buffer {
  const body = Buffer.alloc(4);
  body.writeUInt32BE(increment, 0);
  return frameOf(WINDOW_UPDATE, 0, stream, body);
}
