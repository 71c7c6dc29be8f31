// One call of an official TypeScript client that is held for approval, to its end.
//
//   node waiting.mjs v1 | v2-legacy | v2-auto | v2-page   with MCP_URL, TOKEN and SQL in the environment
//
// `v2-page` has a handler that opens pages. Says on standard output that it calls, which pages it was to open and how
// the call ended, one JSON document a line. Runs in the directory where the packages are installed.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const load = async (name) => import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve(name)));
const say = (document) => console.log(JSON.stringify(document));

const [which] = process.argv.slice(2);
const { MCP_URL: url, TOKEN: token, SQL: sql } = process.env;
const requestInit = { headers: { authorization: `Bearer ${token}` } };
const info = { name: 'e2e', version: '1' };
const params = { name: 'query', arguments: { sql } };

async function clientOfVersion1() {
  const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const client = new Client(info, { capabilities: {} });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return (options) => client.callTool(params, undefined, options);
}

async function clientOfVersion2(mode, opens) {
  const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
  const capabilities = opens ? { elicitation: { form: {}, url: {} } } : {};
  const client = new Client(info, { capabilities, versionNegotiation: { mode } });
  if (opens) {
    client.setRequestHandler('elicitation/create', async (request) => {
      say({ page: request.params });
      return { action: 'accept' };
    });
  }
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return (options) => client.callTool(params, options);
}

const call = which === 'v1' ? await clientOfVersion1() : await clientOfVersion2(which === 'v2-legacy' ? 'legacy' : 'auto', which === 'v2-page');
say({ calls: which });
// The SDKs' own time-out of 60 s for each request stays as it is.
say({ ended: await call().catch((error) => ({ raised: `${error.constructor.name}: ${error.message}` })) });
process.exit(0);
