// Checks a source and makes the artifact of it. Parses, and never runs, user code.

import * as acorn from 'acorn';
import { type BuildRequest, type BuildResponse, type Dependency, type Diagnostic, Severity } from './codec.ts';
import { compile, encodeArtifact, FILE } from './load.ts';
import { dependencies as installedDependencies, find, missing } from './packages.ts';
import { type Names, type NameUse, type Node, type Place, resolve } from './scope.ts';

/** The longest source, in characters. */
export const MAX_SOURCE = 100_000;

/** More diagnostics than this help nobody. */
const MAX_DIAGNOSTICS = 100;

const TOO_DEEP = 'The source is nested too deeply to be read.';

const SIGNATURE = 'function lambda(input, callback) { … }';

export function build(request: BuildRequest): BuildResponse {
  const diagnostics = check(request).slice(0, MAX_DIAGNOSTICS);
  const failed = diagnostics.some((d) => d.severity === Severity.error);
  return { artifact: failed ? Buffer.alloc(0) : encodeArtifact(request.source), diagnostics };
}

function check({ source, dependencies }: BuildRequest): Diagnostic[] {
  const characters = lengthOf(source);
  if (characters > MAX_SOURCE) {
    return [error('limit', `The source has ${String(characters)} characters, more than the limit of ${String(MAX_SOURCE)}.`)];
  }
  const unknown = dependencies.flatMap(installed);
  try {
    const program = Parser.parse(source, {
      ecmaVersion: 'latest',
      sourceType: 'script',
      allowReturnOutsideFunction: true,
      allowHashBang: true,
      locations: true,
    });
    const names = resolve(program);
    return [...unknown, ...contract(program, names), ...names.globals(GLOBALS).flatMap(use), ...names.imports.flatMap(imported), ...engine(source)];
  } catch (fault) {
    return [...unknown, syntax(fault)];
  }
}

/** The fault of a dependency that is not there, or not in that version; without a version any will do. */
function installed({ name, version }: Dependency): Diagnostic[] {
  const found = installedDependencies().find((p) => p.name === name);
  if (found !== undefined && (version === '' || version === found.version)) return [];
  const remedy = found === undefined ? missing(name) : `Version ${found.version} is installed: ask for that or for none, or choose a runtime that has another.`;
  return [error('dependency', `There is no dependency ${name} ${version}. ${remedy}`)];
}

/** Characters as people count them: a pair of surrogates is one. */
function lengthOf(source: string): number {
  let length = source.length;
  if (length <= MAX_SOURCE) return length;
  for (let i = 1; i < source.length; i++) {
    if ((source.charCodeAt(i) & 0xfc00) === 0xdc00 && (source.charCodeAt(i - 1) & 0xfc00) === 0xd800) length--;
  }
  return length;
}

// Syntax

/**
 * Scopes within one another. The parser notes a var in every block around it,
 * so without a bound a short source could take all of the builder's memory.
 */
const MAX_SCOPES = 500;

/** What acorn's plugins may extend, of which its types say nothing. */
interface Internals {
  scopeStack: unknown[];
  enterScope(flags: number): void;
  validateRegExpPattern(state: { start: number; source: string; flags: string }): void;
  raise(position: number, message: string): never;
}

const Parser = acorn.Parser.extend((Base) => {
  const Inner = Base as unknown as new (...args: never[]) => Internals;
  return class extends Inner {
    override enterScope(flags: number): void {
      if (this.scopeStack.length >= MAX_SCOPES) throw new RangeError(TOO_DEEP);
      super.enterScope(flags);
    }

    /** The engine judges patterns: acorn's own check can take minutes for group names that repeat. */
    override validateRegExpPattern({ start, source, flags }: { start: number; source: string; flags: string }): void {
      try {
        new RegExp(source, flags);
      } catch (fault) {
        this.raise(start, (fault as Error).message);
      }
    }
  } as unknown as typeof acorn.Parser;
});

function syntax(fault: unknown): Diagnostic {
  const { message, loc } = fault as { message: string; loc?: acorn.Position };
  if (fault instanceof RangeError || message.startsWith('Not enough stack space')) {
    return error('syntax', TOO_DEEP);
  }
  if (loc === undefined) throw fault;
  const text = message.replace(/ \(\d+:\d+\)$/, '');
  const remedy = text.includes("'import' and 'export'")
    ? ". A lambda is a CommonJS module: use require('…'), and no export"
    : '';
  return { ...error('syntax', `${text}${remedy}.`), line: loc.line, column: loc.column + 1 };
}

/** What the engine itself refuses: it compiles the source, which runs nothing. */
function engine(source: string): Diagnostic[] {
  try {
    compile(source);
    return [];
  } catch (fault) {
    if (fault instanceof RangeError) return [error('syntax', TOO_DEEP)];
    const line = new RegExp(`^${FILE}:(\\d+)`).exec((fault as Error).stack ?? '')?.[1];
    return [{ ...error('syntax', `${(fault as Error).message}.`), line: Number(line ?? 0) }];
  }
}

// Contract: a function named lambda

type Found = { is: 'function'; node: acorn.Function } | { is: 'unknown' } | { is: 'wrong'; what: string; node: Node };

function contract(program: acorn.Program, names: Names): Diagnostic[] {
  const lambda = topLevelLambda(program) ?? moduleExports(program);
  if (lambda === undefined) {
    return [error('contract', `The source has no function named lambda. Declare it at the top level: ${SIGNATURE}`)];
  }
  switch (lambda.is) {
    case 'wrong':
      return [at(lambda.node, error('contract', `lambda is ${lambda.what}. It must be a function: ${SIGNATURE}`))];
    case 'function':
      return neverCallsBack(lambda.node, names);
    case 'unknown':
      return [];
  }
}

function topLevelLambda(program: acorn.Program): Found | undefined {
  let found: Found | undefined;
  for (const statement of program.body) {
    if (statement.type === 'FunctionDeclaration' && statement.id.name === 'lambda') found = judge(statement);
    else if (statement.type === 'ClassDeclaration' && statement.id.name === 'lambda') found = judge(statement);
    else if (statement.type === 'VariableDeclaration') {
      for (const d of statement.declarations) found = declared(d) ?? found;
    }
  }
  return found;
}

function declared(d: acorn.VariableDeclarator): Found | undefined {
  if (d.id.type === 'Identifier') return d.id.name === 'lambda' ? judge(d.init) : undefined;
  return patternNames(d.id).includes('lambda') ? { is: 'unknown' } : undefined;
}

function patternNames(pattern: acorn.Pattern): string[] {
  switch (pattern.type) {
    case 'Identifier':
      return [pattern.name];
    case 'ObjectPattern':
      return pattern.properties.flatMap((p) => patternNames(p.type === 'RestElement' ? p.argument : p.value));
    case 'ArrayPattern':
      return pattern.elements.flatMap((p) => (p === null ? [] : patternNames(p)));
    case 'AssignmentPattern':
      return patternNames(pattern.left);
    case 'RestElement':
      return patternNames(pattern.argument);
    default:
      return [];
  }
}

/** Whether an expression is a function, as far as can be seen without running it. */
function judge(node: Node | null | undefined): Found {
  switch (node?.type) {
    case 'FunctionDeclaration':
    case 'FunctionExpression':
    case 'ArrowFunctionExpression':
      return node.generator ? { is: 'wrong', what: 'a generator, whose body would not run', node } : { is: 'function', node };
    case 'ClassDeclaration':
    case 'ClassExpression':
      return { is: 'wrong', what: 'a class', node };
    case 'ObjectExpression':
      return { is: 'wrong', what: 'an object', node };
    case 'ArrayExpression':
      return { is: 'wrong', what: 'an array', node };
    case 'Literal':
    case 'TemplateLiteral':
      return { is: 'wrong', what: 'a constant', node };
    case 'AssignmentExpression':
      return judge(node.right);
    default:
      return { is: 'unknown' };
  }
}

/** The older form: module.exports = function, at the top level. */
function moduleExports(program: acorn.Program): Found | undefined {
  let found: Found | undefined;
  for (const statement of program.body) {
    if (statement.type !== 'ExpressionStatement') continue;
    for (let e: Node = statement.expression; e.type === 'AssignmentExpression'; e = e.right) {
      if (isModuleExports(e.left)) found = judge(e.right);
    }
  }
  return found;
}

function isModuleExports(node: Node): boolean {
  return node.type === 'MemberExpression' && node.object.type === 'Identifier' && node.object.name === 'module' && propertyName(node) === 'exports';
}

/** A lambda that cannot call back always runs into the time limit. */
function neverCallsBack(lambda: acorn.Function, names: Names): Diagnostic[] {
  const [input, callback] = lambda.params;
  if (input?.type === 'RestElement' || callback?.type === 'RestElement') return [];
  if (lambda.type !== 'ArrowFunctionExpression' && names.uses('arguments')) return [];
  const name = callback?.type === 'AssignmentPattern' ? callback.left : callback;
  if (name !== undefined && (name.type !== 'Identifier' || names.uses(name.name))) return [];
  const text = `lambda never uses its callback, so each call will end at the time limit. Call it with the result: callback(null, result)`;
  return [at(lambda as Node, { ...error('contract', text), severity: Severity.warning })];
}

// Uses of globals: what is forbidden and what is not there

const GLOBALS: ReadonlySet<string> = new Set(['eval', 'Function', 'globalThis', 'global', 'require']);

function use(global: NameUse): Diagnostic[] {
  switch (global.node.name) {
    case 'eval':
      return isTypeof(global) ? [] : [forbidden(global.node, 'eval')];
    case 'Function':
      return isCalled(global) ? [forbidden(global.node, 'Function')] : [];
    case 'globalThis':
    case 'global':
      return throughGlobal(global);
    case 'require':
      return required(global);
    default:
      return [];
  }
}

function forbidden(node: Node, name: string): Diagnostic {
  return at(node, error('forbidden', `${name} makes code of text, which a lambda must not do. Write the code as a function.`));
}

function throughGlobal({ node, outer }: NameUse): Diagnostic[] {
  const member = outer?.node;
  if (member?.type !== 'MemberExpression' || member.object !== node) return [];
  const name = propertyName(member);
  if (name !== 'eval' && name !== 'Function') return [];
  return isCalled(outer!) ? [forbidden(member, name)] : [];
}

function required(global: NameUse): Diagnostic[] {
  const call = global.outer?.node;
  if (call?.type !== 'CallExpression' || call.callee !== global.node) return [];
  const id = constant(call.arguments[0]);
  if (id === undefined || find(id) !== undefined) return [];
  return [at(call, error('dependency', missing(id)))];
}

function imported(node: acorn.ImportExpression): Diagnostic[] {
  const id = constant(node.source);
  if (id === undefined || find(id) !== undefined) return [];
  return [at(node, error('dependency', missing(id)))];
}

/** Called or constructed: f(), new f(), (0, f)(), f?.(), f.call(), f.apply(). */
function isCalled({ node, outer }: Place): boolean {
  let inner = node;
  for (let place = outer; place !== undefined; place = place.outer) {
    const parent = place.node;
    if ((parent.type === 'CallExpression' || parent.type === 'NewExpression') && parent.callee === inner) return true;
    if (parent.type === 'TaggedTemplateExpression' && parent.tag === inner) return true;
    const passes =
      parent.type === 'ChainExpression' ||
      parent.type === 'ParenthesizedExpression' ||
      (parent.type === 'SequenceExpression' && parent.expressions.at(-1) === inner) ||
      (parent.type === 'MemberExpression' && parent.object === inner && ['call', 'apply', 'bind'].includes(propertyName(parent) ?? ''));
    if (!passes) return false;
    inner = parent;
  }
  return false;
}

function isTypeof({ node, outer }: Place): boolean {
  const parent = outer?.node;
  return parent?.type === 'UnaryExpression' && parent.operator === 'typeof' && parent.argument === node;
}

function propertyName(member: acorn.MemberExpression): string | undefined {
  if (member.computed) return constant(member.property);
  return member.property.type === 'Identifier' ? member.property.name : undefined;
}

/** The value of a string that is written out. */
function constant(node: Node | undefined): string | undefined {
  if (node?.type === 'Literal' && typeof node.value === 'string') return node.value;
  if (node?.type === 'TemplateLiteral' && node.expressions.length === 0) return node.quasis[0]?.value.cooked ?? undefined;
  return undefined;
}

function error(code: Diagnostic['code'], message: string): Diagnostic {
  return { severity: Severity.error, code, message, line: 0, column: 0 };
}

function at(node: Node, diagnostic: Diagnostic): Diagnostic {
  const { line, column } = node.loc!.start;
  return { ...diagnostic, line, column: column + 1 };
}
