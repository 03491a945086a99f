// The record area (runtime.proto): what is logged is there at once, while a frame
// leaves when the event loop turns. So the host has it too when the code that logged
// never ends, or ends the process.
//
// Of its two halves one takes the records of the frame in the making, and those of
// the next frame go into the other, if what is there has left.

import { writeSync } from 'node:fs';

const HALF = 128 << 10;

interface Half {
  readonly start: number;
  /** How much of it is written. */
  end: number;
  /** The last record in it. */
  last: number;
}

export class RecordArea {
  private fd: number;
  private half: Half = { start: 0, end: 0, last: 0 };
  private other: Half = { start: HALF, end: 0, last: 0 };
  /** The number of records that were logged, that were sent, and that have left. */
  private logged = 0;
  private sent = 0;
  private left = 0;

  /** descriptor is what the host names; without one there is no area. */
  constructor(descriptor: string | undefined) {
    this.fd = descriptor === undefined ? -1 : +descriptor;
  }

  /** Keeps a record, an entry of a frame with a byte 0 behind it. One that has no room is only sent. */
  readonly keep = (buffer: Buffer, offset: number, length: number): void => {
    this.logged++;
    if (this.fd < 0) return;
    if (this.half.last <= this.left) this.half.end = 0;
    if (this.half.end + length > HALF) this.turn();
    const { half } = this;
    if (half.end + length > HALF) return;
    try {
      writeSync(this.fd, buffer, offset, length, half.start + half.end);
    } catch {
      this.fd = -1; // user code has closed it
    }
    half.end += length - 1; // the next one is written over the 0
    half.last = this.logged;
  };

  /** All that was logged is sent now. Returns what hears that it has left, and tells written. */
  leaving(written: (() => void) | undefined): (() => void) | undefined {
    const { logged } = this;
    if (this.sent === logged) return written;
    this.sent = logged;
    this.turn();
    return () => {
      this.left = logged;
      written?.();
    };
  }

  /** Goes on in the other half, unless some of what is there has not left. */
  private turn(): void {
    if (this.other.last > this.left) return;
    const { half } = this;
    this.half = this.other;
    this.half.end = 0;
    this.other = half;
  }
}
