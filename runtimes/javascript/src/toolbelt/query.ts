// Queries and forms, in the notation of request's qs: a[b]=1&c[0]=2. The LpClient
// encodes them itself, because what it signs must be what is sent.

/** Adds parameters to a URL. */
export function withQuery(url: URL, qs: object | undefined): void {
  if (qs === undefined) return;
  const more = urlEncoded(qs);
  if (more !== '') url.search = url.search === '' ? more : `${url.search}&${more}`;
}

/** A form as text; text is taken to be one already. */
export function urlEncoded(form: unknown): string {
  if (typeof form === 'string') return form;
  const parts: string[] = [];
  if (typeof form === 'object' && form !== null) for (const [name, value] of Object.entries(form)) add(parts, name, value, 0);
  return parts.join('&');
}

const DEEPEST = 20;

function add(parts: string[], name: string, value: unknown, depth: number): void {
  if (value === undefined || typeof value === 'function') return;
  if (value instanceof Date) value = value.toISOString();
  if (typeof value === 'object' && value !== null) {
    if (depth >= DEEPEST) throw new Error(`a query or form can be ${String(DEEPEST)} levels deep; ${name} is deeper`);
    for (const [key, inner] of Object.entries(value)) add(parts, `${name}[${key}]`, inner, depth + 1);
    return;
  }
  parts.push(`${encode(name)}=${value === null ? '' : encode(`${value as string}`)}`);
}

function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}
