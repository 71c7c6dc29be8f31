// One call as a task, to its end: of the official Tasks client (ext-tasks, on the TypeScript SDK 2), or of the SDK 1.
//
//   node tasks.mjs legacy | modern | v1 TOOL [ARGUMENTS]     with MCP_URL and TOKEN in the environment
//
// Its user is called Ada. Says on standard output which states it saw, what it was asked and how the call ended, one
// JSON document a line. With CANCEL in the environment it takes the task back as soon as it has one. Runs in the
// directory where the packages are installed.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const local = createRequire(`${process.cwd()}/`);
const load = async (name) => import(pathToFileURL(local.resolve(name)));
const say = (document) => console.log(JSON.stringify(document));

const [era, tool, given] = process.argv.slice(2);
const { MCP_URL: url, TOKEN: token, CANCEL: takesBack } = process.env;
const info = { name: 'e2e', version: '1' };
const authorization = `Bearer ${token}`;
const requestInit = { headers: { authorization } };
const called = { name: tool, arguments: JSON.parse(given ?? '{}') };

function answered(params) {
  say({ asked: 'elicitation', message: params.message });
  const fields = Object.keys(params.requestedSchema.properties);
  return { action: 'accept', content: Object.fromEntries(fields.map((field) => [field, 'Ada'])) };
}

async function withVersion1() {
  const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { CallToolResultSchema, ElicitRequestSchema } = await load('@modelcontextprotocol/sdk/types.js');
  const client = new Client(info, { capabilities: { elicitation: {} } });
  client.setRequestHandler(ElicitRequestSchema, ({ params }) => answered(params));
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  for await (const told of client.experimental.tasks.callToolStream(called, CallToolResultSchema, { task: {} })) {
    if (told.type === 'result') return say({ ended: 'completed', result: told.result });
    if (told.type === 'error') return say({ ended: 'failed', error: told.error.message });
    say({ kind: 'task', state: told.task.status });
  }
}

async function withExtTasks() {
  const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
  // The package has no entry for `require`, by which it could be found.
  const place = `${process.cwd()}/node_modules/@modelcontextprotocol/ext-tasks/dist/client/index.js`;
  const { createTaskSessionFromClient } = await import(pathToFileURL(place));
  const capabilities = { elicitation: { form: {} } };
  const client = new Client(info, { capabilities, versionNegotiation: { mode: era === 'legacy' ? 'legacy' : 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  const framing = { protocolVersion: '2026-07-28', clientInfo: info, clientCapabilities: capabilities };
  const session = createTaskSessionFromClient(client, {
    endpointId: 'e2e',
    ...(client.getProtocolEra() === 'modern' ? { rawDispatch, v2RequestFraming: framing } : {}),
    onInputRequest: async ({ params }) => answered(params),
  });
  const { inputSchema, execution: support } = (await client.listTools()).tools.find(({ name }) => name === tool);
  // Of a legacy server's tool that says nothing no task may be asked for (2025-11-25, Tasks: Tool-Level Negotiation).
  const silent = client.getProtocolEra() === 'modern' ? 'optional' : 'forbidden';
  const declaration = { name: tool, inputSchema, taskSupport: support?.taskSupport ?? silent };
  const options = { declaration, task: { preference: 'prefer' } };
  const execution = await session.callTool(called.name, called.arguments, options);
  say({ kind: execution.kind, era: client.getProtocolEra() });
  if (takesBack) await execution.cancel();
  const { outcome } = await execution.settle({ onEvent: (event) => say({ state: event.task?.status ?? event.type }) });
  say({ ended: outcome.status, result: outcome.result, error: outcome.error?.message, code: outcome.error?.code });
}

let id = 0;
// What the SDK's own client does not let through: requests as the package frames them.
async function rawDispatch(request) {
  const headers = {
    authorization,
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': '2026-07-28',
    'mcp-method': request.method,
    'mcp-name': request.params.name ?? request.params.taskId,
  };
  id += 1;
  const body = JSON.stringify({ jsonrpc: '2.0', id: `raw-${id}`, ...request });
  const text = await (await fetch(url, { method: 'POST', headers, body })).text();
  const events = text.split('\n').filter((line) => line.startsWith('data: {'));
  const { result, error } = JSON.parse(text.startsWith('{') ? text : events.at(-1).slice('data: '.length));
  return error === undefined ? { kind: 'result', result } : { kind: 'error', error };
}

try {
  await (era === 'v1' ? withVersion1() : withExtTasks());
} catch (error) {
  say({ raised: `${error.constructor.name}: ${error.message}`, why: String(error.cause ?? '') });
}
process.exit(0);
