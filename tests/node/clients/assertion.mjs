// The official TypeScript client brings an identity assertion: from an ID token over the provider and our authority to
// a tool call. One JSON document says what it met.
//
//   MCP_URL, IDP, AUTHORITY, ID_TOKEN and CLIENT_SECRET in the environment
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const load = async (name) => import(pathToFileURL(createRequire(`${process.cwd()}/`).resolve(name)));
const { Client, StreamableHTTPClientTransport, CrossAppAccessProvider, discoverAndRequestJwtAuthGrant } = await load(
  '@modelcontextprotocol/client',
);
const { MCP_URL, IDP, AUTHORITY, ID_TOKEN, CLIENT_SECRET } = process.env;

const authProvider = new CrossAppAccessProvider({
  assertion: async ({ authorizationServerUrl, resourceUrl, scope, fetchFn }) => {
    const asked = { idpUrl: IDP, audience: AUTHORITY, resource: resourceUrl, idToken: ID_TOKEN, clientId: 'desktop' };
    return (await discoverAndRequestJwtAuthGrant({ ...asked, scope, fetchFn })).jwtAuthGrant;
  },
  clientId: 'care-assistant',
  clientSecret: CLIENT_SECRET,
  expectedIssuer: AUTHORITY,
});
const client = new Client({ name: 'e2e', version: '1' }, { versionNegotiation: { mode: 'auto' } });
await client.connect(new StreamableHTTPClientTransport(new URL(MCP_URL), { authProvider }));
const tools = (await client.listTools()).tools.map((each) => each.name);
const found = await client.callTool({ name: 'census', arguments: { ward: 'icu' } });
console.log(JSON.stringify({ tools, found }));
await client.close();
