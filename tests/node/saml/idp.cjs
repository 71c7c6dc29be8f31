// A real SAML 2.0 identity provider on loopback for the login tests: npm's `samlp`. Whoever comes is signed in as alice.
//
// Its first line of standard input is {"issuer", "key", "cert", "signingCert"}, PEMs in text; it prints {"url": …} when
// it listens. Each further line holds options of samlp for the answers that follow, and is answered with a line. Ends when
// standard input does, so that it cannot outlive the test run. Runs in the directory where the package is installed.
const { createServer } = require('node:http');
const { createRequire } = require('node:module');
const { createInterface } = require('node:readline');

const samlp = createRequire(`${process.cwd()}/`)('samlp');

const GROUPS = 'http://schemas.xmlsoap.org/claims/Group';

// samlp calls it without `new`, and reads `metadata` from its prototype.
function Profile(user) {
  return {
    getClaims: () => ({ [GROUPS]: user.groups, 'urn:oid:0.9.2342.19200300.100.1.3': user.mail }),
    getNameIdentifier: (options) => ({
      nameIdentifier: user.name,
      nameIdentifierFormat: options.format ?? 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
    }),
  };
}
Profile.prototype.metadata = [{ id: GROUPS, displayName: 'Groups' }];

const alice = { name: 'alice', groups: ['privacy', 'clinicians'], mail: 'alice@clinic.example' };
let own;
let options = {};

function express(request, response) {
  request.query = Object.fromEntries(new URL(request.url, 'http://127.0.0.1').searchParams);
  request.originalUrl = request.url;
  request.protocol = 'http';
  response.set = (name, value) => response.setHeader(name, value);
  response.send = (body) => response.end(String(body));
}

function answer(request, response) {
  express(request, response);
  const failed = (error) => response.writeHead(error.status ?? 400).end(String(error.message));
  const settings = {
    issuer: own.issuer,
    cert: own.cert,
    key: own.key,
    profileMapper: Profile,
    authnContextClassRef: 'urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport',
    lifetimeInSeconds: 300,
    ...options,
  };
  if (request.url.startsWith('/metadata')) return samlp.metadata({ ...settings, redirectEndpointPath: '/sso', postEndpointPath: '/sso' })(request, response);
  if (request.query.decline !== undefined) settings.error = { code: 'urn:oasis:names:tc:SAML:2.0:status:Responder' };
  return samlp.parseRequest(request, { signingCert: own.signingCert }, (error, asked) => {
    if (error) return failed(error);
    const consumer = asked?.assertionConsumerServiceURL ?? options.recipient;
    const made = { recipient: consumer, destination: consumer, ...settings };
    if (settings.error) return samlp.sendError({ ...made, inResponseTo: asked.id, getPostURL: (_, done) => done(null, consumer) })(request, response, failed);
    return samlp.auth({
      ...made,
      signingCert: own.signingCert,
      getUserFromRequest: () => ({ ...alice, ...options.user }),
      getPostURL: (_audience, _dom, _request, done) => done(null, consumer),
    })(request, response, failed);
  });
}

const server = createServer((request, response) => answer(request, response));
createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (own) {
      options = JSON.parse(line);
      console.log('{}');
      return;
    }
    own = JSON.parse(line);
    server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ url: `http://127.0.0.1:${server.address().port}` })));
  })
  .on('close', () => process.exit(0));
