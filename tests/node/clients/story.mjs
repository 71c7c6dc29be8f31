// The official TypeScript clients at an upstream behind the gateway: a story from the first message to the last.
//
//   node story.mjs v1 | v2-legacy | v2-auto   with MCP_URL, TOKEN and KEY (names this run's events) in the environment
//
// Prints what it met, as one JSON document. Runs in the directory where the packages are installed, which is not where
// this file is.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const load = async (name) => import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve(name)));

const [which] = process.argv.slice(2);
const { MCP_URL: url, TOKEN: token, KEY: key } = process.env;
const requestInit = { headers: { authorization: `Bearer ${token}` } };
const info = { name: 'e2e', version: '1' };
const capabilities = { elicitation: {} };
const icu = async () => ({ action: 'accept', content: { name: 'icu' } });

async function clientOfVersion1() {
  const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { ElicitRequestSchema, ToolListChangedNotificationSchema } = await load('@modelcontextprotocol/sdk/types.js');
  const client = new Client(info, { capabilities });
  client.setRequestHandler(ElicitRequestSchema, icu);
  const onChange = (seen) => client.setNotificationHandler(ToolListChangedNotificationSchema, seen);
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
  return { client, transport, onChange, call: (tool, options) => client.callTool(tool, undefined, options) };
}

async function clientOfVersion2(mode) {
  const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
  const client = new Client(info, { capabilities, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', icu);
  const onChange = (seen) => client.setNotificationHandler('notifications/tools/list_changed', seen);
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
  return { client, transport, onChange, call: (tool, options) => client.callTool(tool, options) };
}

const { client, transport, onChange, call } =
  which === 'v1' ? await clientOfVersion1() : await clientOfVersion2(which.replace('v2-', ''));
const tool = (name, args = {}, options = {}) => call({ name, arguments: args }, options);
const failure = (error) => ({ name: error.constructor.name, code: error.code, message: error.message });

const met = {};
const changed = new Promise((resolve) => onChange(() => resolve(true)));
await client.connect(transport);
met.instructions = client.getInstructions();
met.tools = (await client.listTools()).tools.map((each) => each.name);
met.resources = (await client.listResources()).resources.map((each) => each.uri);
met.prompts = (await client.listPrompts()).prompts.map((each) => each.name);
met.add = (await tool('add', { one: 2, other: 3 })).structuredContent;
met.chart = await tool('chart');
met.fails = await tool('fails');
met.refused = await tool('shut_ward', { name: `refused ${key}` });
met.resource = (await client.readResource({ uri: 'ward://icu/chart' })).contents[0].text;
met.prompt = (await client.getPrompt({ name: 'handover', arguments: { ward: 'icu' } })).messages[0].content.text;

met.progress = [];
const onprogress = (progress) => {
  met.progress.push(progress);
  tool('tell', { event: `${key}/${progress.progress}` });
};
met.stepwise = (await tool('stepwise', { key, steps: 3 }, { onprogress })).content[0].text;

const aborting = new AbortController();
const endless = tool('endless', { key }, { signal: aborting.signal }).catch(failure);
met.begun = (await tool('hear', { event: `${key}/begun` })).structuredContent.result;
aborting.abort(new Error('enough'));
met.aborted = await endless;
met.cancelled = (await tool('hear', { event: `${key}/cancelled` })).structuredContent.result;

met.asked = await tool(which === 'v2-auto' ? 'require_ward' : 'ask_for_ward').catch(failure);

if (which !== 'v2-auto') {
  // The client opens its stream at its leisure, and what comes before that is not heard.
  let heard = false;
  changed.then(() => { heard = true; });
  for (let tries = 0; tries < 50 && !heard; tries += 1) {
    await tool('changes');
    await Promise.race([changed, new Promise((resolve) => setTimeout(resolve, 100))]);
  }
  met.heard = heard;
  const session = transport.sessionId;
  await transport.terminateSession();
  const headers = { ...requestInit.headers, 'mcp-session-id': session, 'content-type': 'application/json' };
  headers.accept = 'application/json, text/event-stream';
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping' });
  met.terminated = (await fetch(url, { method: 'POST', headers, body })).status;
}
await client.close();
console.log(JSON.stringify(met));
