import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const root = join(import.meta.dirname, '..', '..');

export type Role = 'LPA' | 'FaaS-Admin' | 'FaaS-Developer' | 'FaaS-Invocation';

interface Dev {
  accountId: string;
  urls: Record<'faasUI' | 'faasGW' | 'sentinel' | 'agentVep' | 'admin', string>;
  users: { role: Role; username: string; password: string; userId: string }[];
  lambda: { uuid: string; name: string };
}

/** A real gateway in a folder of its own. */
export class Gateway {
  private constructor(
    private readonly process: ChildProcess,
    readonly folder: string,
    readonly dev: Dev,
  ) {}

  get url() {
    return this.dev.urls.faasUI;
  }

  get account() {
    return this.dev.accountId;
  }

  user(role: Role) {
    return this.dev.users.find((u) => u.role === role)!;
  }

  /** Starts bin/sluice dev on free ports and waits until it is ready. */
  static async start(...args: string[]): Promise<Gateway> {
    const folder = mkdtempSync(join(tmpdir(), 'sluice-ui-'));
    const any = '127.0.0.1:0';
    const log: string[] = [];
    const process = spawn(
      join(root, 'bin', 'sluice'),
      ['dev', '--data-dir', folder, '--https-addr', any, '--http-addr', any, '--admin-addr', any, '--limit', 'account-requests=0', ...args],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [process.stdout, process.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        log.push(chunk.toString());
        if (log.length > 400) log.shift();
      });
    }
    const file = join(folder, 'dev.json');
    for (let i = 0; i < 600; i++) {
      if (process.exitCode !== null) throw new Error(`the gateway ended with ${process.exitCode}:\n${log.join('')}`);
      if (existsSync(file)) return new Gateway(process, folder, JSON.parse(readFileSync(file, 'utf8')) as Dev);
      await sleep(100);
    }
    process.kill('SIGKILL');
    throw new Error(`the gateway was not ready after a minute:\n${log.join('')}`);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve));
    if (this.process.exitCode === null) {
      this.process.kill('SIGTERM');
      const timer = setTimeout(() => this.process.kill('SIGKILL'), 10_000);
      await ended;
      clearTimeout(timer);
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  private readonly bearers = new Map<Role, Promise<string>>();

  /** Asks the API directly, as a client of that role: to prepare what a page shows. */
  async api(role: Role, method: string, path: string, body?: unknown): Promise<unknown> {
    if (!this.bearers.has(role)) this.bearers.set(role, this.login(role));
    const response = await fetch(`${this.url}/api/account/${this.account}${path}`, {
      method,
      headers: { Authorization: `Bearer ${await this.bearers.get(role)!}`, ...(body !== undefined && { 'Content-Type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? (JSON.parse(text) as unknown) : undefined;
  }

  private async login(role: Role): Promise<string> {
    const { username, password } = this.user(role);
    const response = await fetch(`${this.dev.urls.agentVep}/api/account/${this.account}/login?v=1.3`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username, password }),
    });
    return ((await response.json()) as { bearer: string }).bearer;
  }

  /** Saves a lambda and, if asked, deploys it and waits for that. */
  async lambda(name: string, code: string, more: { deploy?: boolean; description?: string; eventId?: string; environmentVariables?: { key: string; value: string }[] } = {}): Promise<string> {
    const { deploy, description = 'made by a test', eventId, environmentVariables = [] } = more;
    const made = (await this.api('FaaS-Developer', 'POST', '/lambdas', {
      name,
      description,
      ...(eventId && { eventId }),
      implementation: { code, dependencies: [], environmentVariables },
    })) as { uuid: string };
    if (deploy) await this.deploy(made.uuid);
    return made.uuid;
  }

  /** Deploys what is saved of a lambda and waits until it is live. */
  async deploy(id: string): Promise<void> {
    await this.api('FaaS-Developer', 'POST', `/deployments/${id}`);
    for (let i = 0; i < 300; i++) {
      const [{ state, lastDeployment }] = (await this.api('FaaS-Developer', 'GET', `/lambdas/${id}`)) as [{ state: string; lastDeployment: { deploymentState?: string } }];
      if (state === 'Productive') return;
      if (lastDeployment.deploymentState?.endsWith('Error')) throw new Error(`deployment of ${id}: ${lastDeployment.deploymentState}`);
      await sleep(100);
    }
    throw new Error(`${id} is not live after 30 s`);
  }

  /** Calls a lambda by hand, as the developer. */
  invoke(id: string, payload: unknown = {}): Promise<unknown> {
    return this.api('FaaS-Developer', 'POST', `/lambdas/${id}/invoke`, { timestamp: Date.now(), headers: [], payload });
  }
}

// The gateway's certificate is its own: nothing here leaves this machine.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
