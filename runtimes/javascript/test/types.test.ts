// The declarations that the editor shows: lambdas that use the toolbelt well pass
// them, others do not, and what they declare is what is there.

import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import ts from 'typescript';
import { invoke } from './runtime.ts';

const src = join(import.meta.dirname, '../src');
const texts = { 'lambda.d.ts': join(src, 'lambda.d.ts.txt'), 'toolbelt.d.ts': join(src, 'toolbelt/toolbelt.d.ts.txt') };
let folder = '';
let declarations: string[] = [];

before(() => {
  folder = mkdtempSync(join(tmpdir(), 's'));
  declarations = Object.entries(texts).map(([name, from]) => {
    writeFileSync(join(folder, name), readFileSync(from));
    return join(folder, name);
  });
});
after(() => { rmSync(folder, { recursive: true }); });

const HEAD = `const { Toolbelt, LpServices, ConversationContentTypes, SDETypes, ErrorStrategy, ErrorCodes, ContextServiceErrorCodes, SecretError, ToolbeltError } = require('lp-faas-toolbelt');
async function lambda(input, callback) {
`;

/** What TypeScript says of each body of a lambda; all at once, since it reads its own library each time. */
function faults(bodies: string[]): string[][] {
  const files = bodies.map((body, i) => {
    const file = join(folder, `lambda${i}.js`);
    writeFileSync(file, `${HEAD}${body}\n}\nmodule.exports = { lambda };\n`);
    return file;
  });
  const options: ts.CompilerOptions = { allowJs: true, checkJs: true, noEmit: true, strict: true, noImplicitAny: false, lib: ['lib.es2024.d.ts'], types: [], module: ts.ModuleKind.CommonJS };
  const program = ts.createProgram([...declarations, ...files], options);
  const all = ts.getPreEmitDiagnostics(program);
  for (const fault of all) if (fault.file === undefined || declarations.includes(fault.file.fileName)) assert.fail(ts.flattenDiagnosticMessageText(fault.messageText, ' '));
  return files.map((file) => all.filter((f) => f.file?.fileName === file).map((f) => ts.flattenDiagnosticMessageText(f.messageText, ' ')));
}

const GOOD = `
  const secrets = Toolbelt.SecretClient();
  const { value } = await secrets.readSecret('k', { useCache: false, timeout: 100 });
  await secrets.updateSecret({ key: 'k', value });

  const http = Toolbelt.HTTPClient();
  http('https://a.example', { method: 'GET', headers: {}, simple: false, resolveWithFullResponse: true }).then((r) => { console.info(r.statusCode); });
  await http({ uri: 'https://a.example', json: true, qs: { a: 1 } });
  await http.post('https://a.example', { form: { a: 1 } });

  const lp = Toolbelt.LpClient();
  const options = { method: 'POST', body: { conversationId: 'c' }, json: true, appKeySecretName: 'mine', headers: { 'X-A': 'b' }, timeout: 5 };
  const found = await lp(LpServices.MSG_HIST, '/x', options);
  await lp('swift', '/x');
  console.info(found.conversationHistoryRecords);

  const conversations = Toolbelt.ConversationUtil();
  const conversation = await conversations.getConversationById('c', [ConversationContentTypes.SDES, 'info']);
  await conversations.getConversationById('c');
  for (const { message, sentTimestamp, sentBy, tag } of conversations.scanConversationForKeywords(conversation, ['a'])) console.info(message.length + sentTimestamp + sentBy + tag);
  console.info(conversation.conversationHistoryRecords[0].messageRecords, conversation.messageRecords?.length);

  const sde = Toolbelt.SDEUtil();
  await sde.addSDEs([{ type: SDETypes.PERSONAL_INFO, personal: { contacts: [{ email: 'a@b.example' }] } }, { type: 'own' }], 'v', 's');
  console.info(sde.getSDEsFromConv(conversation).unAuthSdes.events.length);

  const paths = await Toolbelt.GDPRUtil().replaceConversationFiles(conversation, { username: 'u', password: 'p' }, (path) => path.endsWith('.png'), { body: Buffer.from('x'), contentType: 'image/png' });
  await Toolbelt.GDPRUtil().replaceConversationFiles(conversation, value);
  console.info(paths[0].length);

  const context = Toolbelt.ContextServiceClient({ apiKey: value, accountId: process.env.BRAND_ID ?? '' });
  await context.createNamespace('n', { ttl: 120 });
  await context.createNamespace('n');
  await context.deleteNamespace('n');
  (await context.getListOfNamespaces()).map(({ name, createdAt, ttlSecond }) => [name.length, createdAt?.getTime(), ttlSecond]);
  await context.setPropertiesInNamespace('n', { a: [1] }, 's');
  await context.updatePropertiesInNamespace('n', { a: 1 });
  console.info((await context.getAllPropertiesInSession('n', 's')).a);
  await context.getSelectedPropertiesInSession('n', ['a'], 's');
  await context.getPropertyInSession('n', 'a');
  await context.deletePropertyInSession('n', 'a', 's');
  await context.deleteSession('n', 's');
  console.info((await context.getListOfSessions('n')).length);

  const mtls = Toolbelt.MTLSClient({ cert: value, key: value, ca: value });
  const { statusCode, body } = await mtls.get('https://a.example');
  await mtls.post('https://a.example', { Accept: 'x' }, { a: 1 }, { allowSelfSigned: true, json: true, timeout: 10000 });
  await mtls.patch('https://a.example', null, '', { timeout: 1 });
  for (const method of [mtls.put, mtls.delete, mtls.head, mtls.options]) await method('https://a.example');
  console.info(statusCode + 1, JSON.parse(body));

  const orchestrator = Toolbelt.OrchestratorClient();
  const retryFunction = (statusCode, error) => [500].includes(statusCode) || ['ENOTFOUND'].includes(error.cause.code);
  const answers = await orchestrator.invoke([{ uuid: 'u', payload: {}, headers: {} }, { uuid: 'v', retries: 3, retryFunction }], 25000, { timeout: 10000, invokeParallel: true, errorStrategy: ErrorStrategy.CONTINUE_ON_ERROR });
  await orchestrator.invoke([{ uuid: 'u' }]);
  for (const { uuid, body, headers, statusCode, error } of answers) console.info(uuid, body, headers, statusCode, error?.message, error?.code);

  Toolbelt.SFClient().connectToSalesforce({ loginUrl: 'https://a.example', accessToken: 'a', refreshToken: 'r' }).query('q', (err, result) => { callback(err, result); });

  try {
    await lp('smt', '/x');
  } catch (error) {
    if (error instanceof SecretError && error.code === ErrorCodes.Secret.NotFound) callback(error);
    if (error instanceof ToolbeltError && error.code === ContextServiceErrorCodes.Data.NotFound) callback(null, error.cause);
  }`;

const BAD: [string, RegExp][] = [
  [`Toolbelt.MailClient()`, /'MailClient' does not exist/],
  [`Toolbelt.LpClient()(LpServices.MAIL, '/x')`, /'MAIL' does not exist/],
  [`Toolbelt.LpClient()(7, '/x')`, /not assignable to parameter/],
  [`Toolbelt.LpClient()('smt')`, /Expected 2-3 arguments/],
  [`Toolbelt.LpClient()('smt', '/x', { appKeySecretName: 7 })`, /not assignable to type 'string/],
  [`LpServices.SMT = 'x'`, /read-only/],
  [`Toolbelt.ConversationUtil().getConversationById(7)`, /not assignable to parameter of type 'string'/],
  [`Toolbelt.ConversationUtil().scanConversationForKeywords({}, 'refund')`, /not assignable to parameter of type 'string\[\]'/],
  [`(await Toolbelt.ConversationUtil().getConversationById('c')).conversationHistoryRecords.missing`, /'missing' does not exist/],
  [`ConversationContentTypes.MAIL`, /'MAIL' does not exist/],
  [`Toolbelt.SDEUtil().addSDEs([{ personal: {} }], 'v', 's')`, /'type' is missing/],
  [`Toolbelt.SDEUtil().addSDEs([], 'v')`, /Expected 3 arguments/],
  [`Toolbelt.GDPRUtil().replaceConversationFiles({}, { username: 'u' })`, /'password' is missing/],
  [`Toolbelt.GDPRUtil().replaceConversationFiles({}, { username: 'u', password: 'p' }, true)`, /not assignable to parameter/],
  [`Toolbelt.ContextServiceClient({ apiKey: 'k' })`, /'accountId' is missing/],
  [`Toolbelt.ContextServiceClient({ apiKey: 'k', accountId: '1' }).createNamespace('n', { ttl: '5' })`, /not assignable to type 'number/],
  [`Toolbelt.ContextServiceClient({ apiKey: 'k', accountId: '1' }).getSelectedPropertiesInSession('n', 'a')`, /not assignable to parameter of type 'string\[\]'/],
  [`Toolbelt.MTLSClient({ cert: 'c' })`, /'key' is missing/],
  [`Toolbelt.MTLSClient({ cert: 'c', key: 'k' }).get('https://a.example', {}, null, { timeout: '5' })`, /not assignable to type 'number/],
  [`Toolbelt.OrchestratorClient().invoke({ uuid: 'u' })`, /does not exist in type 'OrchestratorInvocation\[\]'/],
  [`Toolbelt.OrchestratorClient().invoke([{ payload: {} }])`, /'uuid' is missing/],
  [`Toolbelt.OrchestratorClient().invoke([{ uuid: 'u' }], 5, { errorStrategy: 'give up' })`, /not assignable to type/],
  [`ErrorStrategy.GIVE_UP`, /'GIVE_UP' does not exist/],
  [`Toolbelt.SecretClient().readSecret(1)`, /not assignable to parameter of type 'string'/],
];

test('a lambda that uses every method fits, and wrong uses do not', () => {
  const [good, ...bad] = faults([GOOD, ...BAD.map(([body]) => `  ${body};`)]);
  assert.deepEqual(good, []);
  BAD.forEach(([body, text], i) => { assert.match(bad[i]!.join(' | '), text, body); });
});

test('what is declared is there, with those names and values, and nothing else is', async (t) => {
  const text = readFileSync(texts['toolbelt.d.ts'], 'utf8');
  const file = ts.createSourceFile('toolbelt.d.ts', text, ts.ScriptTarget.Latest, true);
  const names: string[] = [];
  const values: { [name: string]: { [key: string]: string } } = {};
  const statics: string[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isClassDeclaration(node)) names.push(node.name!.text);
    if (ts.isClassDeclaration(node) && node.name!.text === 'Toolbelt') statics.push(...node.members.map((m) => m.name!.getText(file)));
    if (ts.isVariableDeclaration(node) && node.type !== undefined && ts.isTypeLiteralNode(node.type)) {
      names.push(node.name.getText(file));
      const literals = node.type.members.filter(ts.isPropertySignature).filter((m) => m.type !== undefined && ts.isLiteralTypeNode(m.type));
      values[node.name.getText(file)] = Object.fromEntries(literals.map((m) => [m.name.getText(file), (m.type as ts.LiteralTypeNode).literal.getText(file).slice(1, -1)]));
    }
    ts.forEachChild(node, visit);
  };
  visit(file);
  const { result } = await invoke(t, `const toolbelt = require('lp-faas-toolbelt');
    function lambda(input, callback) {
      callback(null, { toolbelt, names: Object.keys(toolbelt), statics: Object.getOwnPropertyNames(toolbelt.Toolbelt).filter((n) => !['length', 'name', 'prototype'].includes(n)) });
    }`) as { result: { toolbelt: { [name: string]: object }; names: string[]; statics: string[] } };
  assert.deepEqual(names.toSorted(), result.names.toSorted());
  assert.deepEqual(statics.toSorted(), result.statics.toSorted());
  for (const name of ['LpServices', 'ConversationContentTypes', 'SDETypes', 'ErrorStrategy']) assert.deepEqual(values[name], result.toolbelt[name], name);
});
