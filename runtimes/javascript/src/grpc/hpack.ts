// HPACK (RFC 7541): the compressed headers of HTTP/2. Requests are decoded in
// full; answers are written without compression, which every peer must read.

/** Appendix A: names and values that both sides know from the start. */
const STATIC: readonly (readonly [string, string])[] = [
  [':authority', ''], [':method', 'GET'], [':method', 'POST'], [':path', '/'], [':path', '/index.html'],
  [':scheme', 'http'], [':scheme', 'https'], [':status', '200'], [':status', '204'], [':status', '206'],
  [':status', '304'], [':status', '400'], [':status', '404'], [':status', '500'], ['accept-charset', ''],
  ['accept-encoding', 'gzip, deflate'], ['accept-language', ''], ['accept-ranges', ''], ['accept', ''],
  ['access-control-allow-origin', ''], ['age', ''], ['allow', ''], ['authorization', ''], ['cache-control', ''],
  ['content-disposition', ''], ['content-encoding', ''], ['content-language', ''], ['content-length', ''],
  ['content-location', ''], ['content-range', ''], ['content-type', ''], ['cookie', ''], ['date', ''], ['etag', ''],
  ['expect', ''], ['expires', ''], ['from', ''], ['host', ''], ['if-match', ''], ['if-modified-since', ''],
  ['if-none-match', ''], ['if-range', ''], ['if-unmodified-since', ''], ['last-modified', ''], ['link', ''],
  ['location', ''], ['max-forwards', ''], ['proxy-authenticate', ''], ['proxy-authorization', ''], ['range', ''],
  ['referer', ''], ['refresh', ''], ['retry-after', ''], ['server', ''], ['set-cookie', ''],
  ['strict-transport-security', ''], ['transfer-encoding', ''], ['user-agent', ''], ['vary', ''], ['via', ''],
  ['www-authenticate', ''],
];

/**
 * Appendix B: how many bits each byte's Huffman code has, in base 36. The code is
 * canonical, so the lengths say all: codes of one length follow each other in the
 * order of the bytes. The last is the end-of-string symbol.
 */
const HUFFMAN_LENGTHS =
  'dnsssssssoussussssssssusssssssss6aacd68baa8b8666555666666678f6cad677777777777777777777' +
  '77878djde6f56565666577666567655677777fbedskmkkmmmnmnnnnnonoomnonnnnlmnmnnomlkmmnnlnmmo' +
  'lmnnllmlnmnnkmmmnmmnqqkjmnmpqqqrrqopjlqrrqrollqqsrrrkoklmllnmmppooqnqrqqrrrrrsrrrrrqu';

const END_OF_STRING = 256;
const DEFAULT_TABLE_SIZE = 4096;

/** Thrown for a header block that is not HPACK; it ends the connection. */
export class HpackError extends Error {}

let tree: Int16Array | undefined;

/** The code as a binary tree: two entries a node, a child's index or ~symbol. */
function huffmanTree(): Int16Array {
  const nodes = new Int16Array(2 * (END_OF_STRING + 1));
  let used = 1;
  let code = 0;
  for (let length = 1; length <= 30; length++) {
    code <<= 1;
    for (let symbol = 0; symbol <= END_OF_STRING; symbol++) {
      if (parseInt(HUFFMAN_LENGTHS[symbol]!, 36) !== length) continue;
      let node = 0;
      for (let bit = length - 1; bit > 0; bit--) {
        const slot = 2 * node + ((code >>> bit) & 1);
        if (nodes[slot] === 0) nodes[slot] = used++;
        node = nodes[slot]!;
      }
      nodes[2 * node + (code & 1)] = ~symbol;
      code++;
    }
  }
  return nodes;
}

function huffmanDecode(block: Buffer, start: number, end: number): string {
  tree ??= huffmanTree();
  const bytes: number[] = [];
  let node = 0;
  let padding = 0;
  let ones = true;
  for (let i = start; i < end; i++) {
    for (let bit = 7; bit >= 0; bit--) {
      const b = (block[i]! >>> bit) & 1;
      const next = tree[2 * node + b]!;
      padding++;
      ones &&= b === 1;
      if (next >= 0) {
        node = next;
        continue;
      }
      if (~next === END_OF_STRING) throw new HpackError('a header holds the end-of-string symbol');
      bytes.push(~next);
      node = 0;
      padding = 0;
      ones = true;
    }
  }
  if (padding > 7 || !ones) throw new HpackError('a header has wrong padding');
  return Buffer.from(bytes).toString('latin1');
}

/** Decodes the header blocks of one connection, which must come in order. */
export class HeaderDecoder {
  private readonly dynamic: [string, string][] = [];
  private size = 0;
  private maxSize = DEFAULT_TABLE_SIZE;
  private position = 0;

  decode(block: Buffer): Map<string, string> {
    const headers = new Map<string, string>();
    this.position = 0;
    while (this.position < block.length) {
      const first = block[this.position]!;
      if (first >= 0x80) {
        const [name, value] = this.entry(this.integer(block, 7));
        headers.set(name, value);
      } else if (first >= 0x40) {
        const [name, value] = this.literal(block, 6);
        this.add(name, value);
        headers.set(name, value);
      } else if (first >= 0x20) {
        this.resize(this.integer(block, 5));
      } else {
        const [name, value] = this.literal(block, 4);
        headers.set(name, value);
      }
    }
    return headers;
  }

  private literal(block: Buffer, prefix: number): [string, string] {
    const index = this.integer(block, prefix);
    const name = index === 0 ? this.string(block) : this.entry(index)[0];
    return [name, this.string(block)];
  }

  private integer(block: Buffer, prefix: number): number {
    const mask = (1 << prefix) - 1;
    let value = this.byte(block) & mask;
    if (value < mask) return value;
    for (let shift = 0; ; shift += 7) {
      if (shift > 21) throw new HpackError('a header holds too large a number');
      const b = this.byte(block);
      value += (b & 0x7f) << shift;
      if (b < 0x80) return value;
    }
  }

  private string(block: Buffer): string {
    const huffman = (block[this.position] ?? 0) >= 0x80;
    const length = this.integer(block, 7);
    const start = this.position;
    this.position += length;
    if (this.position > block.length) throw new HpackError('a header block ends inside a string');
    return huffman ? huffmanDecode(block, start, this.position) : block.toString('latin1', start, this.position);
  }

  private byte(block: Buffer): number {
    if (this.position >= block.length) throw new HpackError('a header block ends inside a field');
    return block[this.position++]!;
  }

  private entry(index: number): readonly [string, string] {
    const entry = index <= STATIC.length ? STATIC[index - 1] : this.dynamic[index - STATIC.length - 1];
    if (entry === undefined) throw new HpackError('a header refers to an entry that is not there');
    return entry;
  }

  private add(name: string, value: string): void {
    this.dynamic.unshift([name, value]);
    this.size += name.length + value.length + 32;
    this.evict();
  }

  private resize(size: number): void {
    if (size > DEFAULT_TABLE_SIZE) throw new HpackError('a header table is larger than agreed');
    this.maxSize = size;
    this.evict();
  }

  private evict(): void {
    while (this.size > this.maxSize) {
      const [name, value] = this.dynamic.pop()!;
      this.size -= name.length + value.length + 32;
    }
  }
}

/** A header block. Names and values are ASCII and shorter than 16 000 bytes each. */
export function encodeHeaders(headers: readonly (readonly [string, string])[]): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of headers) {
    const index = STATIC.findIndex((s) => s[0] === name && s[1] === value);
    if (index >= 0) parts.push(Buffer.of(0x80 | (index + 1)));
    else parts.push(Buffer.of(0), literal(name), literal(value));
  }
  return Buffer.concat(parts);
}

function literal(text: string): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const rest = bytes.length - 127;
  return Buffer.concat([Buffer.of(127, (rest & 0x7f) | 0x80, rest >>> 7), bytes]);
}
