// One call of an official TypeScript client in the legacy era, whose connection somebody on the way cuts.
//
//   node resuming.mjs v1 | v2   with MCP_URL, TOKEN and KEY in the environment
//
// Says on standard output each progress that it hears of and how the call ended, one JSON document a line. Runs in the
// directory where the packages are installed.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const load = async (name) => import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve(name)));
const say = (document) => console.log(JSON.stringify(document));

const [which] = process.argv.slice(2);
const { MCP_URL: url, TOKEN: token, KEY: key } = process.env;
const requestInit = { headers: { authorization: `Bearer ${token}` } };
const info = { name: 'e2e', version: '1' };
const params = { name: 'stepwise', arguments: { key, steps: 3 } };
const options = { onprogress: (progress) => say({ progress: progress.progress }) };

async function begin() {
  if (which === 'v1') {
    const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
    const client = new Client(info, { capabilities: {} });
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
    return () => client.callTool(params, undefined, options);
  }
  const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
  const client = new Client(info, { capabilities: {}, versionNegotiation: { mode: 'legacy' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return () => client.callTool(params, options);
}

const call = await begin();
say({ ended: await call().catch((error) => ({ raised: `${error.constructor.name}: ${error.message}` })) });
process.exit(0);
