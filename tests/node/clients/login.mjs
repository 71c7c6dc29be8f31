// The official TypeScript clients know only a URL: it registers, lets a person log in, and calls a tool as often as it is
// told to. The person's browser is played here.
//
//   node login.mjs v1 | v2 URL CALLBACK [CLIENT_METADATA_URL]
//
// Each line "call" on standard input is answered with a JSON line: what the tool said, what the access token claims, and how
// often the person had to log in so far. Ends when standard input does.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const load = async (name) => import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve(name)));
const [version, url, callback, document] = process.argv.slice(2);

async function clientOfVersion1() {
  const { Client } = await load('@modelcontextprotocol/sdk/client/index.js');
  const { StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js');
  const { UnauthorizedError } = await load('@modelcontextprotocol/sdk/client/auth.js');
  return { Client, StreamableHTTPClientTransport, UnauthorizedError, answer: (params) => params.get('code') };
}

async function clientOfVersion2() {
  return { ...(await load('@modelcontextprotocol/client')), answer: (params) => params };
}

const official = version === 'v1' ? await clientOfVersion1() : await clientOfVersion2();
const { Client, StreamableHTTPClientTransport, UnauthorizedError, answer } = official;

let logins = 0;
let cameBack;

async function browse(start) {
  const jar = new Map();
  let location = start;
  for (let steps = 0; !location.href.startsWith(callback); steps += 1) {
    if (steps === 20) throw new Error('the provider never sends the person back');
    const sent = [...jar.values()].filter(({ path }) => location.pathname.startsWith(path));
    const cookie = sent.map(({ pair }) => pair).join('; ');
    const reply = await fetch(location, { redirect: 'manual', headers: { cookie } });
    for (const each of reply.headers.getSetCookie()) {
      const [pair] = each.split(';');
      const path = /;\s*path=([^;]*)/i.exec(each)?.[1] ?? '/';
      jar.set(`${pair.split('=')[0]} ${path}`, { pair, path });
    }
    if (reply.status < 300 || reply.status > 399) throw new Error(`the provider answered ${reply.status}`);
    location = new URL(reply.headers.get('location'), location);
  }
  return location.searchParams;
}

const kept = {};
const authProvider = {
  redirectUrl: callback,
  clientMetadataUrl: document || undefined,
  clientMetadata: {
    client_name: 'e2e',
    redirect_uris: [callback],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
    application_type: 'native',
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  saveDiscoveryState: (state) => { kept.discovery = state; },
  discoveryState: () => kept.discovery,
  redirectToAuthorization: async (where) => {
    logins += 1;
    cameBack = await browse(where);
  },
};

let client;
let transport;

async function connect() {
  client = new Client({ name: 'e2e', version: '1' }, version === 'v1' ? {} : { versionNegotiation: { mode: 'auto' } });
  transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
  await client.connect(transport);
  await client.listTools();
}

async function withLogin(attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof UnauthorizedError) || !cameBack) throw error;
    const params = cameBack;
    cameBack = undefined;
    await transport.finishAuth(answer(params));
    return attempt();
  }
}

const call = () => client.callTool({ name: 'census', arguments: { ward: 'icu' } });
const claims = () => JSON.parse(Buffer.from(kept.tokens.access_token.split('.')[1], 'base64url'));

await withLogin(connect);
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'call') {
    const result = await withLogin(call);
    console.log(JSON.stringify({ text: result.content[0].text, claims: claims(), logins }));
  }
}
await client.close();
