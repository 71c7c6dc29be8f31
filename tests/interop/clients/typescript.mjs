// The official TypeScript SDKs: `node typescript.mjs v1|v2`. README.md says the rest. Runs in the directory where the
// packages are installed, which is not where this file is.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const load = async (name) => import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve(name)));
const say = (document) => console.log(JSON.stringify(document));

const [which] = process.argv.slice(2);
const { url, token, era, steps } = JSON.parse(process.env.INTEROP);
const requestInit = { headers: { authorization: `Bearer ${token}` } };
const info = { name: 'interop', version: '1' };
const capabilities = { elicitation: {}, sampling: {} };

const filled = ({ properties, required = [] }) =>
  Object.fromEntries(required.map((name) => [name, (properties[name].enum ?? ['Ada'])[0]]));
const elicited = async ({ params }) => ({ action: 'accept', content: filled(params.requestedSchema) });
const sampled = async () => ({ role: 'assistant', content: { type: 'text', text: 'Paris' }, model: 'synthetic' });

async function clientOfVersion1() {
  const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { CreateMessageRequestSchema, ElicitRequestSchema } = await load('@modelcontextprotocol/sdk/types.js');
  const client = new Client(info, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, elicited);
  client.setRequestHandler(CreateMessageRequestSchema, sampled);
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
  await client.connect(transport);
  return { client, version: transport.protocolVersion, call: (tool, options) => client.callTool(tool, undefined, options) };
}

async function clientOfVersion2() {
  const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
  const mode = era === 'modern' ? { pin: '2026-07-28' } : era;
  const client = new Client(info, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', elicited);
  client.setRequestHandler('sampling/createMessage', sampled);
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return { client, version: client.getNegotiatedProtocolVersion(), call: (tool, options) => client.callTool(tool, options) };
}

const { client, version, call } = which === 'v1' ? await clientOfVersion1() : await clientOfVersion2();
say({ step: 'connect', version });
for (const { step, name, arguments: args, progress } of steps) {
  say({ step, begins: true });
  let heard = 0;
  const options = progress ? { onprogress: () => { heard += 1; } } : {};
  try {
    const result = step === 'list' ? await client.listTools() : await call({ name, arguments: args }, options);
    say({ step, result, progress: heard });
  } catch (error) {
    say({ step, error: `${error.constructor.name}: ${error.message}` });
  }
}
await client.close();
