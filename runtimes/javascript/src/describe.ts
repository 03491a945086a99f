// What this runtime is, for the gateway, its users and the editor.

import type { DescribeResponse } from './codec.ts';
import lambdaTypes from './lambda.d.ts.txt';
import { PACKAGES } from './packages.ts';
import toolbeltTypes from './toolbelt/toolbelt.d.ts.txt';

declare const VERSION: string;

const SAMPLE = `function lambda(input, callback) {
  const name = input.payload.name || 'World';
  console.info('Greeting', name);
  callback(null, { message: \`Hello \${name}!\` });
}
`;

export function describeRuntime(): DescribeResponse {
  return {
    name: 'javascript',
    displayName: `Node.js ${process.versions.node.split('.')[0]!}`,
    version: VERSION,
    dependencies: [...PACKAGES],
    sampleSource: SAMPLE,
    typeDeclarations: { 'lambda.d.ts': lambdaTypes, 'toolbelt.d.ts': toolbeltTypes },
  };
}
