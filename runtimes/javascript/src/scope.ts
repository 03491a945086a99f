// Which names of a program refer to what it declares itself, and which to globals.

import type * as acorn from 'acorn';

/** A syntax node, looked at generically: acorn's types name each kind. */
export type Node = acorn.AnyNode;

/** A node and what is around it. Nodes share their surroundings: a copy for each would take depth times length. */
export interface Place<N extends Node = Node> {
  node: N;
  outer: Place | undefined;
}

/** A use of a name. */
export type NameUse = Place<acorn.Identifier>;

interface Scope {
  names: Set<string>;
  /** Whether var belongs here. */
  isFunction: boolean;
  outer: Scope | undefined;
}

interface Use extends NameUse {
  scope: Scope;
}

/** What a source declares and uses. */
export interface Names {
  /** The uses of these names where nothing in the source declares them, in the order of the source. */
  globals(names: ReadonlySet<string>): NameUse[];
  /** Whether the name is used where the source declares it. */
  uses(name: string): boolean;
  /** Every import(…), in the order of the source. */
  readonly imports: readonly acorn.ImportExpression[];
}

/** Resolves the names of a program. */
export function resolve(program: acorn.Program): Names {
  const walker = new Walker();
  walker.program(program);
  return walker.names();
}

class Walker {
  private scope: Scope = { names: new Set(), isFunction: true, outer: undefined };
  private readonly found: Use[] = [];
  private readonly imports: acorn.ImportExpression[] = [];
  private place: Place | undefined;

  program(node: acorn.Program): void {
    this.visit(node);
  }

  names(): Names {
    return {
      globals: (names) => this.found.filter(({ node, scope }) => names.has(node.name) && !isDeclared(scope, node.name)),
      uses: (name) => this.found.some(({ node, scope }) => node.name === name && isDeclared(scope, name)),
      imports: this.imports,
    };
  }

  private visit(node: Node | null | undefined): void {
    if (node === null || node === undefined) return;
    const outer = this.place;
    this.place = { node, outer };
    this.enter(node);
    this.place = outer;
  }

  private enter(node: Node): void {
    switch (node.type) {
      case 'Identifier':
        this.found.push({ node, outer: this.place?.outer, scope: this.scope });
        return;
      case 'FunctionDeclaration':
        if (node.id) this.scope.names.add(node.id.name);
        this.function(node, undefined);
        return;
      case 'FunctionExpression':
        this.function(node, node.id?.name);
        return;
      case 'ArrowFunctionExpression':
        this.function(node, undefined);
        return;
      case 'ClassDeclaration':
      case 'ClassExpression':
        this.class(node);
        return;
      case 'VariableDeclaration':
        for (const d of node.declarations) {
          this.declare(d.id, node.kind === 'var' ? functionScope(this.scope) : this.scope);
          this.visit(d.init);
        }
        return;
      case 'CatchClause':
        this.within(false, () => {
          if (node.param) this.declare(node.param, this.scope);
          this.visit(node.body);
        });
        return;
      case 'BlockStatement':
      case 'ForStatement':
      case 'ForInStatement':
      case 'ForOfStatement':
      case 'SwitchStatement':
        this.within(false, () => {
          this.children(node);
        });
        return;
      case 'StaticBlock':
        this.within(true, () => {
          this.children(node);
        });
        return;
      case 'MemberExpression':
        this.visit(node.object);
        if (node.computed) this.visit(node.property);
        return;
      case 'Property':
      case 'MethodDefinition':
      case 'PropertyDefinition':
        if (node.computed) this.visit(node.key);
        this.visit(node.value);
        return;
      case 'BinaryExpression':
      case 'LogicalExpression':
        this.operands(node);
        return;
      case 'ImportExpression':
        this.imports.push(node);
        this.children(node);
        return;
      case 'LabeledStatement':
        this.visit(node.body);
        return;
      case 'BreakStatement':
      case 'ContinueStatement':
      case 'MetaProperty':
        return;
      default:
        this.children(node);
    }
  }

  private function(node: acorn.Function, ownName: string | undefined): void {
    this.within(true, () => {
      this.scope.names.add('arguments');
      if (ownName !== undefined) this.scope.names.add(ownName);
      for (const p of node.params) this.declare(p, this.scope);
      // The body shares the parameters' scope: good enough to tell globals apart.
      if (node.body.type === 'BlockStatement') this.children(node.body);
      else this.visit(node.body);
    });
  }

  private class(node: acorn.Class): void {
    if (node.type === 'ClassDeclaration' && node.id) this.scope.names.add(node.id.name);
    this.visit(node.superClass);
    this.within(false, () => {
      if (node.id) this.scope.names.add(node.id.name);
      this.visit(node.body);
    });
  }

  /** Declares the names of a pattern and visits the expressions in it. */
  private declare(pattern: acorn.Pattern, scope: Scope): void {
    switch (pattern.type) {
      case 'Identifier':
        scope.names.add(pattern.name);
        return;
      case 'ObjectPattern':
        for (const p of pattern.properties) {
          if (p.type === 'RestElement') this.declare(p.argument, scope);
          else {
            if (p.computed) this.visit(p.key);
            this.declare(p.value, scope);
          }
        }
        return;
      case 'ArrayPattern':
        for (const p of pattern.elements) if (p !== null) this.declare(p, scope);
        return;
      case 'AssignmentPattern':
        this.declare(pattern.left, scope);
        this.visit(pattern.right);
        return;
      case 'RestElement':
        this.declare(pattern.argument, scope);
        return;
      case 'MemberExpression':
        this.visit(pattern);
    }
  }

  private within(isFunction: boolean, walk: () => void): void {
    this.scope = { names: new Set(), isFunction, outer: this.scope };
    walk();
    this.scope = this.scope.outer!;
  }

  /** a + b + c + … nests to the left, as deep as it is long: a loop, so that the stack stays flat. */
  private operands(node: acorn.BinaryExpression | acorn.LogicalExpression): void {
    let left: Node = node;
    while (left.type === 'BinaryExpression' || left.type === 'LogicalExpression') {
      this.visit(left.right);
      left = left.left;
    }
    this.visit(left);
  }

  private children(node: Node): void {
    for (const value of Object.values(node) as unknown[]) {
      if (Array.isArray(value)) {
        for (const item of value) if (isNode(item)) this.visit(item);
      } else if (isNode(value)) this.visit(value);
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string';
}

function isDeclared(from: Scope, name: string): boolean {
  for (let scope: Scope | undefined = from; scope !== undefined; scope = scope.outer) {
    if (scope.names.has(name)) return true;
  }
  return false;
}

function functionScope(from: Scope): Scope {
  let scope = from;
  while (!scope.isFunction) scope = scope.outer!;
  return scope;
}
