// The headers of a request: looked up in any case, sent as they were written.

/** Text of a value of any kind. */
export const textOf = String as (value: unknown) => string;

export class Headers {
  private readonly entries = new Map<string, { name: string; value: unknown }>();

  constructor(values: Readonly<Record<string, unknown>> = {}) {
    for (const name of Object.keys(values)) if (values[name] !== undefined) this.set(name, values[name]);
  }

  has(name: string): boolean {
    return this.entries.has(name.toLowerCase());
  }

  /** The value as text; empty when there is none. */
  text(name: string): string {
    const value = this.entries.get(name.toLowerCase())?.value;
    return value === undefined ? '' : textOf(value);
  }

  set(name: string, value: unknown): void {
    const key = name.toLowerCase();
    this.entries.set(key, { name: this.entries.get(key)?.name ?? name, value });
  }

  /** Sets it unless it is there. */
  offer(name: string, value: unknown): void {
    if (!this.has(name)) this.set(name, value);
  }

  remove(...names: string[]): void {
    for (const name of names) this.entries.delete(name.toLowerCase());
  }

  object(): Record<string, unknown> {
    const all: Record<string, unknown> = {};
    for (const { name, value } of this.entries.values()) all[name] = value;
    return all;
  }
}
