// What this runtime is, for the gateway, its users and the editor.

import type { DescribeResponse } from './codec.ts';
import lambdaTypes from './lambda.d.ts.txt';
import { dependencies, installed, packageTypes } from './packages.ts';
import toolbeltTypes from './toolbelt/toolbelt.d.ts.txt';

declare const VERSION: string;

const SAMPLE = `function lambda(input, callback) {
  const name = input.payload.name || 'World';
  console.info('Greeting', name);
  callback(null, { message: \`Hello \${name}!\` });
}
`;

/** withTypes adds the declarations of the packages, about a megabyte. */
export function describeRuntime(withTypes: boolean): DescribeResponse {
  const { name, label } = installed();
  const node = `Node.js ${process.versions.node.split('.')[0]!}`;
  return {
    name,
    displayName: label === '' ? node : `${node} (${label})`,
    version: VERSION,
    dependencies: dependencies(),
    sampleSource: SAMPLE,
    typeDeclarations: { 'lambda.d.ts': lambdaTypes, 'toolbelt.d.ts': toolbeltTypes, ...(withTypes ? packageTypes() : {}) },
  };
}
